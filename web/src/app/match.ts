/** The parameters of a path that fits a pattern such as /groups/:name. */
export function match(pattern: string, path: string): Record<string, string> | undefined {
  const want = pattern.split('/');
  const have = path.replace(/\/+$/, '').split('/');
  if (want.length !== have.length) return path === '/' && pattern === '/' ? {} : undefined;
  const params: Record<string, string> = {};
  for (let i = 0; i < want.length; i++) {
    const [w, h] = [want[i] ?? '', have[i] ?? ''];
    if (w.startsWith(':')) params[w.slice(1)] = decodeURIComponent(h);
    else if (w !== h) return undefined;
  }
  return params;
}
