import { messages } from '../../i18n/i18n';

export const groups = messages({
  en: {
    title: 'Groups', group: 'Group', lose: 'Lose now', objective: 'Objective', where: 'From → to', search: 'Search by name', site: 'Site', any: 'any',
    found: (n: string) => (n === '1' ? '1 group' : `${n} groups`), sort: 'Order', byName: 'Name', byLag: 'Most lost first', byHealth: 'Worst first', clear: 'Show all', protect: 'Protect machines',
    noneTitle: 'No group fits', noneText: 'Change the search or the filters.',
    emptyTitle: 'Nothing is protected yet', emptyText: 'A group is a set of machines that are captured at one instant and failed over together. Protect one to see it here.',
  },
  ja: {
    title: 'グループ', group: 'グループ', lose: '今失われる量', objective: '目標', where: '稼働 → 復旧先', search: '名前で検索', site: 'サイト', any: 'すべて',
    found: (n) => `${n} グループ`, sort: '並び順', byName: '名前', byLag: '失われる量の多い順', byHealth: '状態の悪い順', clear: 'すべて表示', protect: 'マシンを保護',
    noneTitle: '該当するグループがありません', noneText: '検索語や絞り込みを変更してください。',
    emptyTitle: 'まだ何も保護されていません', emptyText: 'グループとは、同一時点で取得され、まとめてフェールオーバーされるマシンの集まりです。保護を始めるとここに表示されます。',
  },
  fr: {
    title: 'Groupes', group: 'Groupe', lose: 'Perte actuelle', objective: 'Objectif', where: 'De → vers', search: 'Chercher par nom', site: 'Site', any: 'tous',
    found: (n) => (n === '1' ? '1 groupe' : `${n} groupes`), sort: 'Ordre', byName: 'Nom', byLag: 'Plus grande perte d’abord', byHealth: 'Pire d’abord', clear: 'Tout afficher', protect: 'Protéger des machines',
    noneTitle: 'Aucun groupe ne correspond', noneText: 'Changez la recherche ou les filtres.',
    emptyTitle: 'Rien n’est encore protégé', emptyText: 'Un groupe est un ensemble de machines capturées au même instant et basculées ensemble. Protégez-en un pour le voir ici.',
  },
});
