// @ts-check
// Draw soon: at most once a frame, however often it is asked for.

export const redrawing = { waiting: false, draw: () => {} };

export function refresh() {
  if (redrawing.waiting) return;
  redrawing.waiting = true;
  requestAnimationFrame(() => {
    redrawing.waiting = false;
    redrawing.draw();
  });
}
