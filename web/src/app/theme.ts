import { type CSSVariablesResolver, createTheme, type MantineColorsTuple } from '@mantine/core';

const curtain: MantineColorsTuple = [
  '#f1f0ff', '#dfddfc', '#bcb8f3', '#9790ea', '#776ee3', '#6358de', '#564ad0', '#473cb4', '#3b329b', '#2a2373',
];

export const theme = createTheme({
  primaryColor: 'curtain',
  primaryShade: { light: 7, dark: 5 },
  colors: { curtain },
  autoContrast: true,
  defaultRadius: 'md',
  fontFamily: 'system-ui, -apple-system, "Segoe UI", "Hiragino Sans", "Noto Sans CJK JP", "Noto Sans JP", Roboto, sans-serif',
  fontFamilyMonospace: 'ui-monospace, "Cascadia Mono", "SFMono-Regular", Menlo, Consolas, "Noto Sans Mono CJK JP", monospace',
  headings: { fontWeight: '650', sizes: { h1: { fontSize: '1.5rem', lineHeight: '1.25' }, h2: { fontSize: '1.05rem', lineHeight: '1.4' } } },
  cursorType: 'pointer',
  focusRing: 'auto',
  respectReducedMotion: true,
  components: {
    Paper: { defaultProps: { withBorder: true, radius: 'lg' } },
    Tooltip: { defaultProps: { withArrow: true, events: { hover: true, focus: true, touch: true } } },
  },
});

/** The library's colours that would have too little contrast on our grounds. */
export const variables: CSSVariablesResolver = () => ({
  variables: {},
  light: { '--mantine-color-body': '#f6f7fb', '--mantine-color-dimmed': '#596072', '--mantine-color-placeholder': '#6b7180' },
  dark: { '--mantine-color-body': '#11141b', '--mantine-color-dimmed': '#a3aabb', '--mantine-color-placeholder': '#8f97a8', '--mantine-color-anchor': '#aaa4ff' },
});
