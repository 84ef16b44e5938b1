// Every page of the console: its path, its place in the navigation, its code, which is loaded when it is wanted.
import { IconGauge, IconListCheck, IconPlayerPlay, IconStack2 } from '@tabler/icons-react';
import { type ComponentType, lazy, type LazyExoticComponent } from 'react';
import { messages } from '../i18n/i18n';

const names = messages({
  en: { overview: 'Overview', groups: 'Groups', plans: 'Recovery plans', runs: 'Runs' },
  ja: { overview: '概要', groups: 'グループ', plans: '復旧計画', runs: '実行' },
  fr: { overview: 'Vue d’ensemble', groups: 'Groupes', plans: 'Plans de reprise', runs: 'Exécutions' },
});

export interface PageProps {
  params: Record<string, string>;
}

export interface Route {
  path: string;
  page: LazyExoticComponent<ComponentType<PageProps>>;
  /** Left out of the navigation without a name. */
  name?: keyof typeof names.en;
  icon?: ComponentType<{ size?: number | string; stroke?: number | string }>;
}

export { names };

export const routes: Route[] = [
  { path: '/', page: lazy(() => import('../pages/overview')), name: 'overview', icon: IconGauge },
  { path: '/groups', page: lazy(() => import('../pages/groups')), name: 'groups', icon: IconStack2 },
  { path: '/failover/:group', page: lazy(() => import('../pages/failover')) },
  { path: '/plans', page: lazy(() => import('../pages/plans')), name: 'plans', icon: IconListCheck },
  { path: '/plans/:plan', page: lazy(() => import('../pages/plan')) },
  { path: '/runs', page: lazy(() => import('../pages/runs')), name: 'runs', icon: IconPlayerPlay },
  { path: '/runs/:run', page: lazy(() => import('../pages/run')) },
  { path: '/groups/:name', page: lazy(() => import('../pages/group')) },
  { path: '/groups/:name/points', page: lazy(() => import('../pages/points')) },
];
