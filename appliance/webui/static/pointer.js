/** Mouse, finger and pen on the overlay: one way in for all of them. */

const REACH = { touch: 28, pen: 20, mouse: 16 }; // CSS pixels around a line that take hold of it

/**
 * Drag contours by pointer.
 * @param {HTMLElement} surface takes the events
 * @param {import('./overlay.js').Overlay} overlay turns page places into source pixels
 * @param {object} hands
 * @param {() => boolean} hands.may whether drawing is on
 * @param {(x: number, y: number, reach: number) => boolean} hands.grab
 * @param {(x: number, y: number) => void} hands.drag
 * @param {() => void} hands.drop
 * @param {() => void} hands.cancel
 * @param {() => void} hands.tap a press that took hold of nothing
 */
export function drag(surface, overlay, hands) {
  let holding = null;
  surface.addEventListener('pointerdown', (event) => {
    if (!event.isPrimary || event.button > 0) return;
    if (!hands.may()) {
      hands.tap();
      return;
    }
    const reach = (REACH[event.pointerType] ?? REACH.mouse) / overlay.scale;
    if (!hands.grab(...overlay.toSource(event), reach)) return;
    event.preventDefault();
    holding = event.pointerId;
    surface.setPointerCapture(event.pointerId);
  });
  surface.addEventListener('pointermove', (event) => {
    if (event.pointerId === holding) hands.drag(...overlay.toSource(event));
  });
  surface.addEventListener('pointerup', (event) => {
    if (event.pointerId !== holding) return;
    holding = null;
    hands.drop();
  });
  surface.addEventListener('pointercancel', (event) => {
    if (event.pointerId !== holding) return;
    holding = null;
    hands.cancel();
  });
}
