"""The GraphQL documents that are sent; tests validate each one against the sandbox's schema.

W&B publishes no schema. These ask for as little as the connector needs, so that little can change under them.
"""

from __future__ import annotations

from typing import Final

VIEWER: Final = "query Viewer { viewer { entity username teams { edges { node { name } } } } }"

OPEN_RUN: Final = """
mutation OpenRun(
  $entity: String, $project: String, $name: String, $displayName: String, $config: JSONString, $group: String
  $jobType: String, $notes: String, $tags: [String!]
) {
  upsertBucket(input: {
    entityName: $entity, modelName: $project, name: $name, displayName: $displayName, config: $config,
    groupName: $group, jobType: $jobType, notes: $notes, tags: $tags
  }) {
    inserted
    bucket { id name historyLineCount project { name entity { name } } }
  }
}
"""

RUN: Final = """
query Run($entity: String!, $project: String!, $run: String!) {
  project(name: $project, entityName: $entity) {
    run(name: $run) {
      id name displayName state stopped tags group jobType createdAt heartbeatAt config summaryMetrics historyKeys
      historyLineCount logLineCount
    }
  }
}
"""

HISTORY: Final = """
query History($entity: String!, $project: String!, $run: String!, $first: Int64!, $end: Int64!, $samples: Int!) {
  project(name: $project, entityName: $entity) {
    run(name: $run) { history(minStep: $first, maxStep: $end, samples: $samples) }
  }
}
"""

RUNS: Final = """
query Runs(
  $entity: String!, $project: String!, $filters: JSONString, $order: String, $first: Int, $after: String
) {
  project(name: $project, entityName: $entity) {
    runs(filters: $filters, order: $order, first: $first, after: $after) {
      edges {
        cursor
        node { name displayName state tags createdAt heartbeatAt summaryMetrics }
      }
      pageInfo { hasNextPage }
    }
  }
}
"""

PROJECTS: Final = """
query Projects($entity: String, $first: Int, $after: String) {
  models(entityName: $entity, first: $first, after: $after) {
    edges { node { name entityName createdAt } }
    pageInfo { endCursor hasNextPage }
  }
}
"""

CREATE_ARTIFACT: Final = """
mutation CreateArtifact($input: CreateArtifactInput!) {
  createArtifact(input: $input) { artifact { id state versionIndex } }
}
"""

CREATE_MANIFEST: Final = """
mutation CreateArtifactManifest(
  $artifact: ID!, $digest: String!, $entity: String!, $project: String!, $run: String!, $withUpload: Boolean!
) {
  createArtifactManifest(input: {
    artifactID: $artifact, name: "wandb_manifest.json", digest: $digest, entityName: $entity, projectName: $project,
    runName: $run, type: FULL
  }) {
    artifactManifest { id file @include(if: $withUpload) { uploadUrl uploadHeaders } }
  }
}
"""

CREATE_FILES: Final = """
mutation CreateArtifactFiles($input: CreateArtifactFilesInput!) {
  createArtifactFiles(input: $input) {
    files { edges { node { name uploadUrl uploadHeaders artifact { id } } } }
  }
}
"""

COMMIT_ARTIFACT: Final = """
mutation CommitArtifact($artifact: ID!) {
  commitArtifact(input: {artifactID: $artifact}) { artifact { id digest versionIndex } }
}
"""

FIND_ARTIFACT: Final = """
query FindArtifact($entity: String!, $project: String!, $name: String!) {
  project(name: $project, entityName: $entity) {
    artifactCollectionMembership(name: $name) { artifact { id state digest versionIndex } }
  }
}
"""

RUN_ARTIFACTS: Final = """
query RunArtifacts($entity: String!, $project: String!, $run: String!, $first: Int, $after: String) {
  project(name: $project, entityName: $entity) {
    run(name: $run) {
      outputArtifacts(first: $first, after: $after) {
        edges { node { id state digest versionIndex artifactSequence { name } artifactType { name } } }
        pageInfo { endCursor hasNextPage }
      }
    }
  }
}
"""

MANIFEST: Final = """
query ArtifactManifest($artifact: ID!) {
  artifact(id: $artifact) { currentManifest { file { directUrl } } }
}
"""

ARTIFACT_FILES: Final = """
query ArtifactFiles($artifact: ID!, $first: Int, $after: String) {
  artifact(id: $artifact) {
    files(first: $first, after: $after) { edges { node { name directUrl } } pageInfo { endCursor hasNextPage } }
  }
}
"""
