import react from '@vitejs/plugin-react';
import { defineConfig, type Plugin } from 'vite';

// `npm run dev` shows the sources with the API of a running controller. UNDERSTUDY_URL says where it is.
const controller = process.env.UNDERSTUDY_URL ?? 'http://127.0.0.1:7700';
const token = process.env.UNDERSTUDY_TOKEN;
const proxy = {
  target: controller,
  changeOrigin: true,
  headers: token ? { Authorization: `Bearer ${token}` } : undefined,
};

/** Answers with made-up data instead of a controller's (test/mock). */
const mock: Plugin = {
  name: 'mock',
  configureServer(server) {
    server.middlewares.use(async (req, res, next) => {
      const url = new URL(req.url ?? '/', 'http://mock');
      if (!url.pathname.startsWith('/v1/') && url.pathname !== '/livez') return next();
      const { answer, answerPost } = (await server.ssrLoadModule('/test/mock/index.ts')) as typeof import('./test/mock');
      const chunks: Buffer[] = [];
      for await (const chunk of req) chunks.push(chunk as Buffer);
      const data = req.method === 'GET' ? answer(url) : answerPost(url, JSON.parse(Buffer.concat(chunks).toString() || '{}'));
      res.statusCode = data === undefined ? 404 : 200;
      res.setHeader('Content-Type', 'application/json');
      res.end(JSON.stringify(data ?? { detail: `the mock does not answer ${url.pathname}`, kind: 'not-found', status: 404, title: 'Not Found' }));
    });
  },
};

export default defineConfig(({ mode }) => ({
  plugins: [react(), ...(mode === 'mock' ? [mock] : [])],
  build: { outDir: 'dist', emptyOutDir: true, manifest: true, assetsInlineLimit: 0, chunkSizeWarningLimit: 800 },
  server: { host: '127.0.0.1', proxy: { '/v1': proxy, '/livez': proxy, '/status': proxy } },
}));
