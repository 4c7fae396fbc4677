"""What runs is made to be what is wanted, now and after the engine was gone."""
