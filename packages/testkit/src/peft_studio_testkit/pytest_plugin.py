"""What pytest loads at each start wherever the testkit is installed; everything else waits until it is asked for."""
