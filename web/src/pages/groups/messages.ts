import { messages } from '../../i18n/i18n';

export const groups = messages({
  en: {
    title: 'Groups', group: 'Group', lose: 'Fail over now: lose', site: 'Runs at', target: 'Recovered at',
    emptyTitle: 'Nothing is protected yet', emptyText: 'A group is a set of machines that are captured at one instant and failed over together. Protect one to see it here.',
  },
  ja: {
    title: 'グループ', group: 'グループ', lose: '今フェールオーバーすると失われる量', site: '稼働サイト', target: '復旧先',
    emptyTitle: 'まだ何も保護されていません', emptyText: 'グループとは、同一時点で取得され、まとめてフェールオーバーされるマシンの集まりです。保護を始めるとここに表示されます。',
  },
  fr: {
    title: 'Groupes', group: 'Groupe', lose: 'Basculer maintenant : perdre', site: 'Tourne à', target: 'Repris à',
    emptyTitle: 'Rien n’est encore protégé', emptyText: 'Un groupe est un ensemble de machines capturées au même instant et basculées ensemble. Protégez-en un pour le voir ici.',
  },
});
