// The feature maps of the explorer, as in scene.py: values at cell centers.

const maps = (() => {
  const HEIGHT = 192;
  const WIDTH = 256; // of the image, in pixels

  function noise() { // a linear congruential generator: the same numbers everywhere
    let state = 1;
    return () => {
      state = (Math.imul(1664525, state) + 1013904223) >>> 0;
      return state / 2 ** 32;
    };
  }

  const MAPS = {
    ramp: () => (y, x) => x,
    "ramp-y": () => (y) => y,
    checkerboard: (stride) => (y, x) => (Math.floor(y / stride) + Math.floor(x / stride)) % 2,
    noise,
    blob: () => (y, x) => Math.exp(-((x - WIDTH / 2) ** 2 + (y - HEIGHT / 2) ** 2) / 3200),
  };

  function make(name, stride) {
    const [height, width] = [HEIGHT / stride, WIDTH / stride];
    const at = MAPS[name](stride);
    const values = new Float64Array(height * width);
    for (let i = 0; i < height; i++) {
      for (let j = 0; j < width; j++) {
        values[i * width + j] = at((i + 0.5) * stride, (j + 0.5) * stride);
      }
    }
    return {values, height, width};
  }

  return {make, names: Object.keys(MAPS), HEIGHT, WIDTH};
})();
