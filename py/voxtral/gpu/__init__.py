"""GPU runtime: one device protocol, three devices, a shader library."""
