import { messages } from '../../i18n/i18n';

export const plans = messages({
  en: {
    title: 'Recovery plans', plan: 'Plan', group: 'Group', version: 'Version', updated: 'Changed', verified: 'Verified', needs: 'Needs verification', verifiedText: (v: number) => `Version ${v} was rehearsed`, create: 'New plan',
    emptyTitle: 'No recovery plan yet', emptyText: 'A plan says in which order machines start and what else is done: scripts, requests, approvals, probes. Without one, machines start by their order in the group.',
  },
  ja: {
    title: '復旧計画', plan: '計画', group: 'グループ', version: 'バージョン', updated: '変更', verified: '検証済み', needs: '要検証', verifiedText: (v) => `バージョン ${v} は訓練済み`, create: '新しい計画',
    emptyTitle: '復旧計画はまだありません', emptyText: '計画は、マシンの起動順序と、スクリプト、HTTP 要求、承認、プローブなどの処理を定めます。計画がない場合、マシンはグループ内の順序で起動します。',
  },
  fr: {
    title: 'Plans de reprise', plan: 'Plan', group: 'Groupe', version: 'Version', updated: 'Modifié', verified: 'Vérifié', needs: 'À vérifier', verifiedText: (v) => `La version ${v} a été répétée`, create: 'Nouveau plan',
    emptyTitle: 'Aucun plan de reprise', emptyText: 'Un plan dit dans quel ordre les machines démarrent et ce qui est fait d’autre : scripts, requêtes, approbations, sondes. Sans plan, les machines démarrent selon leur ordre dans le groupe.',
  },
});
