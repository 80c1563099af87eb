"""Camera and gyroscope that were recorded together: axes, clock offset, readout time and focal length."""
