import { viteCommonjs } from '@originjs/vite-plugin-commonjs';
import { defineConfig } from 'vite';

export default defineConfig({
  base: './',
  plugins: [viteCommonjs()],
  worker: { format: 'es' },
  build: { target: 'es2022', chunkSizeWarningLimit: 9999 },
  resolve: { alias: { events: 'events/events.js' } },
  optimizeDeps: { exclude: ['@cornerstonejs/dicom-image-loader'], include: ['dicom-parser'] },
});
