"""A page that paints a square under the finger as pages do, in its next frame: this browser's own share."""

from playwright.async_api import Page

ADDRESS = "data:text/html,<!doctype html><canvas width=1200 height=700></canvas>"
_PAINT = """() => {
  const canvas = document.querySelector('canvas');
  canvas.style.touchAction = 'none';
  const context = canvas.getContext('2d');
  canvas.addEventListener('pointermove', (event) => requestAnimationFrame(() => {
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.fillRect(event.offsetX - 20, event.offsetY - 20, 40, 40);
  }));
}"""


async def ready(page: Page) -> tuple[float, float]:
    """Let the page paint; where the finger comes down."""
    await page.evaluate(_PAINT)
    return 600.0, 300.0
