import { messages } from '../../i18n/i18n';

export const extensions = messages({
  en: {
    title: 'Extensions', group: 'Group', machine: 'Machine', extension: 'Extension', version: 'Version', status: 'Health', heartbeat: 'Last heartbeat', observed: 'Seen', restore: 'Restore', restoreText: 'What the recovery point says that the machines had is compared with what they have; what is missing or stale is removed, installed again, associated again, and believed after a fresh heartbeat.', emptyTitle: 'No extension was seen yet', emptyText: 'Extensions are software that must be present and healthy in machines, such as monitoring agents. They are recorded with every recovery point and restored after a failover.', healthy: 'Healthy', missing: 'Missing', failed: 'Failed', unknown: 'Unknown', catalogue: 'Catalogue', description: 'What it is', builtin: 'built in',
  },
  ja: {
    title: '拡張機能', group: 'グループ', machine: 'マシン', extension: '拡張機能', version: 'バージョン', status: '状態', heartbeat: '最後のハートビート', observed: '確認', restore: '復元', restoreText: '復旧ポイントに記録された構成と現在の構成を比較し、欠けているものや古いものを削除、再インストール、再関連付けし、新しいハートビートで確認します。', emptyTitle: '拡張機能はまだ確認されていません', emptyText: '拡張機能とは、監視エージェントなど、マシンに存在し正常であるべきソフトウェアです。復旧ポイントごとに記録され、フェールオーバー後に復元されます。', healthy: '正常', missing: '欠落', failed: '失敗', unknown: '不明', catalogue: 'カタログ', description: '説明', builtin: '組み込み',
  },
  fr: {
    title: 'Extensions', group: 'Groupe', machine: 'Machine', extension: 'Extension', version: 'Version', status: 'État', heartbeat: 'Dernier signe de vie', observed: 'Vue', restore: 'Restaurer', restoreText: 'Ce que le point de reprise dit des machines est comparé à ce qu’elles ont ; ce qui manque ou ne répond plus est retiré, réinstallé, réassocié, et cru après un nouveau signe de vie.', emptyTitle: 'Aucune extension vue', emptyText: 'Les extensions sont des logiciels qui doivent être présents et sains dans les machines, comme des agents de supervision. Elles sont notées avec chaque point de reprise et restaurées après un basculement.', healthy: 'Saine', missing: 'Absente', failed: 'En échec', unknown: 'Inconnu', catalogue: 'Catalogue', description: 'Ce que c’est', builtin: 'intégrée',
  },
});
