/** Mouse, finger and pen on the image: one way in for all of them. */

const REACH = { touch: 28, pen: 20, mouse: 16 }; // CSS pixels around a line that take hold of it
const STILL = 8; // CSS pixels a press may move and still be a tap
const WHEEL = 0.0015; // zoom by a notch of 100: 16 %

/**
 * Draw with one pointer, zoom and move the image with two or with the wheel.
 * @param {HTMLElement} surface takes the events
 * @param {import('./overlay.js').Overlay} overlay turns page places into source pixels
 * @param {object} hands
 * @param {(x: number, y: number, reach: number) => boolean} hands.grab whether anything is held now
 * @param {(x: number, y: number) => void} hands.drag
 * @param {() => void} hands.drop
 * @param {() => void} hands.cancel
 * @param {() => void} hands.tap a press that took hold of nothing
 * @param {(x: number, y: number) => void} hands.hover
 */
export function listen(surface, overlay, hands) {
  const down = new Map(); // pointers on the surface
  let holding = null;
  let free = null; // where a pointer that holds nothing came down: a tap, or it moves the image
  let pinched = null;

  function pinch() {
    const [a, b] = [...down.values()];
    const at = { clientX: (a.clientX + b.clientX) / 2, clientY: (a.clientY + b.clientY) / 2 };
    const apart = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
    if (pinched) {
      overlay.pan(at.clientX - pinched.at.clientX, at.clientY - pinched.at.clientY);
      overlay.zoom(apart / Math.max(pinched.apart, 1), at);
    }
    pinched = { at, apart };
  }

  surface.addEventListener('pointerdown', (event) => {
    if (event.button > 0) return;
    down.set(event.pointerId, event);
    surface.setPointerCapture(event.pointerId);
    if (down.size === 2) {
      if (holding !== null) hands.cancel();
      holding = free = null;
      pinch();
    }
    if (down.size > 1) return;
    const reach = (REACH[event.pointerType] ?? REACH.mouse) / overlay.scale;
    if (hands.grab(...overlay.toSource(event), reach)) holding = event.pointerId;
    else free = { x: event.clientX, y: event.clientY, still: true };
  });
  surface.addEventListener('pointermove', (event) => {
    const before = down.get(event.pointerId);
    if (!before) {
      if (event.pointerType !== 'touch') hands.hover(...overlay.toSource(event));
      return;
    }
    down.set(event.pointerId, event);
    if (event.pointerId === holding) hands.drag(...overlay.toSource(event));
    else if (down.size === 2) pinch();
    else if (free) {
      free.still &&= Math.hypot(event.clientX - free.x, event.clientY - free.y) < STILL;
      if (!free.still) overlay.pan(event.clientX - before.clientX, event.clientY - before.clientY);
    }
  });
  function lift(event) {
    if (!down.delete(event.pointerId)) return;
    if (event.pointerId === holding) {
      holding = null;
      // Also when the tablet falls asleep or a palm comes down: what was drawn stays, and can be
      // undone.
      hands.drop();
    } else if (free?.still && event.type === 'pointerup') hands.tap();
    free = null;
    pinched = null;
  }
  surface.addEventListener('pointerup', lift);
  surface.addEventListener('pointercancel', lift);
  surface.addEventListener('wheel', (event) => {
    event.preventDefault();
    overlay.zoom(Math.exp(-event.deltaY * WHEEL), event);
  }, { passive: false });
}
