// The pages that pictures are taken of, with the made-up controller: where, and what shows that it is all there.
// `then` may do something first, such as opening a dialogue.
export const pages = [
  { name: 'runs', path: '/runs', see: 'table' },
  { name: 'run-waiting', path: '/runs/r-104', see: 'textarea' },
  { name: 'run-timeline', path: '/runs/r-90', see: 'ol', then: (page) => page.getByText('Timeline', { exact: true }).click() },
  { name: 'run-live', path: '/runs/r-105', see: 'ol' },
  { name: 'plans', path: '/plans', see: 'table' },
  { name: 'plan', path: '/plans/shop', see: '.plan-item' },
  { name: 'plan-new', path: '/plans/new?group=shop', see: '.plan-item' },
  { name: 'failover', path: '/failover/shop', see: '[role=radio]' },
  { name: 'failover-point', path: '/failover/shop?kind=unplanned', see: '.strip' },
  { name: 'failover-review', path: '/failover/shop?kind=planned', see: 'table' },
  { name: 'overview', path: '/', see: '.bar' },
  { name: 'groups', path: '/groups', see: '.rows .fact' },
  { name: 'group', path: '/groups/shop', see: '.uplot' },
  { name: 'points', path: '/groups/shop/points', see: '.timeline circle' },
  { name: 'points-foreseen', path: '/groups/shop/points?in=1d', see: '[aria-live=polite]' },
];
