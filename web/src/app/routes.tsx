// Every page of the console: its path, its place in the navigation, its code, which is loaded when it is wanted.
import { IconActivity, IconAdjustments, IconDeviceDesktop, IconGauge, IconHeartbeat, IconListCheck, IconPlayerPlay, IconPuzzle, IconSettings, IconStack2, IconTopologyStar3 } from '@tabler/icons-react';
import { type ComponentType, lazy, type LazyExoticComponent } from 'react';
import { messages } from '../i18n/i18n';

const names = messages({
  en: { overview: 'Overview', groups: 'Groups', machines: 'Machines', plans: 'Recovery plans', runs: 'Runs', sites: 'Sites and vaults', policies: 'Policies', extensions: 'Extensions', monitors: 'Update monitors', activity: 'Activity', settings: 'Settings' },
  ja: { overview: '概要', groups: 'グループ', machines: 'マシン', plans: '復旧計画', runs: '実行', sites: 'サイトとボールト', policies: 'ポリシー', extensions: '拡張機能', monitors: '更新の監視', activity: 'アクティビティ', settings: '設定' },
  fr: { overview: 'Vue d’ensemble', groups: 'Groupes', machines: 'Machines', plans: 'Plans de reprise', runs: 'Exécutions', sites: 'Sites et coffres', policies: 'Politiques', extensions: 'Extensions', monitors: 'Mises à jour', activity: 'Activité', settings: 'Réglages' },
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
  { path: '/machines', page: lazy(() => import('../pages/machines')), name: 'machines', icon: IconDeviceDesktop },
  { path: '/machines/:site/:machine', page: lazy(() => import('../pages/machine')) },
  { path: '/failover/:group', page: lazy(() => import('../pages/failover')) },
  { path: '/plans', page: lazy(() => import('../pages/plans')), name: 'plans', icon: IconListCheck },
  { path: '/plans/:plan', page: lazy(() => import('../pages/plan')) },
  { path: '/runs', page: lazy(() => import('../pages/runs')), name: 'runs', icon: IconPlayerPlay },
  { path: '/runs/:run', page: lazy(() => import('../pages/run')) },
  { path: '/groups/:name', page: lazy(() => import('../pages/group')) },
  { path: '/groups/:name/points', page: lazy(() => import('../pages/points')) },
  { path: '/sites', page: lazy(() => import('../pages/sites')), name: 'sites', icon: IconTopologyStar3 },
  // Notifications name a vault or a monitor; both stand among the others.
  { path: '/vaults/:vault', page: lazy(() => import('../pages/sites')) },
  { path: '/monitors/:monitor', page: lazy(() => import('../pages/monitors')) },
  { path: '/sites/:site', page: lazy(() => import('../pages/site')) },
  { path: '/policies', page: lazy(() => import('../pages/policies')), name: 'policies', icon: IconAdjustments },
  { path: '/extensions', page: lazy(() => import('../pages/extensions')), name: 'extensions', icon: IconPuzzle },
  { path: '/monitors', page: lazy(() => import('../pages/monitors')), name: 'monitors', icon: IconHeartbeat },
  { path: '/activity', page: lazy(() => import('../pages/activity')), name: 'activity', icon: IconActivity },
  { path: '/settings', page: lazy(() => import('../pages/settings')), name: 'settings', icon: IconSettings },
];
