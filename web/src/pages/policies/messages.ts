import { messages } from '../../i18n/i18n';

export const policies = messages({
  en: {
    title: 'Policies', policy: 'Policy', rpo: 'RPO objective', rpoText: 'Age of the newest recovery point, such as 5s or 15m', keep: 'Kept', keepText: 'The densest first, such as: all for 1h, 5m for 1d, 1h for 7d', app: 'Application consistent every', appText: 'Such as 1h; empty for never', groups: 'In force for', does: 'What it does', points: (n: number) => `about ${n} recovery points`, add: 'Add a policy', edit: 'Change', remove: 'Remove', removeText: 'A policy can be removed when no group uses it.', name: 'Name', save: 'Save', freeze: 'Guests stand still at most', freezeText: 'Such as 5s, for application-consistent points',
    emptyTitle: 'No policy yet', emptyText: 'A policy says how old the newest recovery point may be, and which older ones are kept for how long.', changeText: (n: number) => `It is in force for ${n} groups at once. Points that a shorter retention does not keep are removed.`, nobody: 'no group',
  },
  ja: {
    title: 'ポリシー', policy: 'ポリシー', rpo: 'RPO 目標', rpoText: '最新復旧ポイントの許容経過時間 (5s、15m など)', keep: '保持', keepText: '密なものから順に。例: all for 1h, 5m for 1d, 1h for 7d', app: 'アプリケーション整合の間隔', appText: '1h など。空欄はなし', groups: '適用中のグループ', does: '内容', points: (n) => `約 ${n} 個の復旧ポイント`, add: 'ポリシーを追加', edit: '変更', remove: '削除', removeText: 'どのグループも使用していないポリシーを削除できます。', name: '名前', save: '保存', freeze: 'ゲスト停止の上限', freezeText: '5s など (アプリケーション整合ポイント用)',
    emptyTitle: 'ポリシーはまだありません', emptyText: 'ポリシーは、最新の復旧ポイントの許容経過時間と、古いポイントの保持期間を定めます。', changeText: (n) => `ただちに ${n} グループに適用されます。短い保持で残らないポイントは削除されます。`, nobody: 'グループなし',
  },
  fr: {
    title: 'Politiques', policy: 'Politique', rpo: 'Objectif RPO', rpoText: 'Âge du point le plus récent, par exemple 5s ou 15m', keep: 'Conservés', keepText: 'Du plus dense au plus espacé, par exemple : all for 1h, 5m for 1d, 1h for 7d', app: 'Cohérent pour les applications toutes les', appText: 'Par exemple 1h ; vide pour jamais', groups: 'En vigueur pour', does: 'Ce qu’elle fait', points: (n) => `environ ${n} points de reprise`, add: 'Ajouter une politique', edit: 'Modifier', remove: 'Retirer', removeText: 'Une politique peut être retirée quand aucun groupe ne l’utilise.', name: 'Nom', save: 'Enregistrer', freeze: 'Arrêt des invités au plus', freezeText: 'Par exemple 5s, pour les points cohérents pour les applications',
    emptyTitle: 'Aucune politique', emptyText: 'Une politique dit quel âge peut avoir le point le plus récent, et lesquels, plus anciens, sont conservés et combien de temps.', changeText: (n) => `Elle vaut aussitôt pour ${n} groupes. Les points qu’une conservation plus courte ne garde pas sont supprimés.`, nobody: 'aucun groupe',
  },
});
