import { messages } from '../../i18n/i18n';

export const runs = messages({
  en: {
    title: 'Runs', run: 'Run', kind: 'Kind', about: 'Group', state: 'State', begun: 'Requested', took: 'Took', by: 'By', all: 'All kinds', active: 'Only those under way', group: 'Group', more: 'Older runs',
    emptyTitle: 'No run yet', emptyText: 'A run is one failover, drill, clone or clean-up, with its steps. Rehearse a failover: it happens in an isolated network and disturbs nothing.',
    noneTitle: 'No run fits', noneText: 'Take filters away to see more.', clear: 'Take all filters away',
  },
  ja: {
    title: '実行', run: '実行', kind: '種類', about: 'グループ', state: '状態', begun: '要求時刻', took: '所要時間', by: '実行者', all: 'すべての種類', active: '進行中のみ', group: 'グループ', more: '以前の実行',
    emptyTitle: 'まだ実行はありません', emptyText: '実行とは、フェールオーバー、訓練、複製、後片付けなどの 1 回の処理とその手順です。フェールオーバーを試してみましょう。隔離されたネットワークで行われ、何にも影響しません。',
    noneTitle: '該当する実行はありません', noneText: '条件を減らすと表示が増えます。', clear: '条件をすべて外す',
  },
  fr: {
    title: 'Exécutions', run: 'Exécution', kind: 'Type', about: 'Groupe', state: 'État', begun: 'Demandée', took: 'Durée', by: 'Par', all: 'Tous les types', active: 'Seulement celles en cours', group: 'Groupe', more: 'Exécutions plus anciennes',
    emptyTitle: 'Aucune exécution', emptyText: 'Une exécution est un basculement, un exercice, un clone ou un nettoyage, avec ses étapes. Répétez un basculement : il a lieu dans un réseau isolé et ne dérange rien.',
    noneTitle: 'Aucune exécution ne correspond', noneText: 'Retirez des filtres pour en voir davantage.', clear: 'Retirer tous les filtres',
  },
});
