// The array that nvdiffrast declares in dynamic shared memory, which has no size there.
float s_texelAccum[1 << 16];
