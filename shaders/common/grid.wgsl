// grid — numbers the workgroups of a launch that may be longer than one grid dimension allows (65 535).
// The host folds n workgroups into rows of GRID_WIDTH (gpu/commands.py, fold_grid); the last row may overhang,
// so every kernel checks its index.

const GRID_WIDTH = 32768u;

fn workgroup_index(id: vec3<u32>) -> u32 {
    return id.y * GRID_WIDTH + id.x;
}
