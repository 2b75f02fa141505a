"""The mathematics, twice: numpy and WebGPU."""
