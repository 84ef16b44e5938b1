// The pages that pictures are taken of, with the made-up controller: where, and what shows that it is all there.
// `then` may do something first, such as opening a dialogue.
export const pages = [
  { name: 'overview', path: '/', see: 'h1' },
  { name: 'groups', path: '/groups', see: 'table' },
];
