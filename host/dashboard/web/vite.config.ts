import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vite";

// In development the API comes from the mock (`npm run mock`) or from a running Belfry: BELFRY_URL=http://127.0.0.1:8089.
const api = process.env.BELFRY_URL ?? "http://127.0.0.1:8099";

export default defineConfig({
  plugins: [svelte()],
  base: "/",
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false }, chunkSizeWarningLimit: 400 },
  server: { proxy: { "/api": api, "/ready": api } },
  resolve: process.env.VITEST ? { conditions: ["browser"] } : undefined,
});
