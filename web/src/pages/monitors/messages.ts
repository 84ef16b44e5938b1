import { messages } from '../../i18n/i18n';

export const monitors = messages({
  en: {
    title: 'Update monitors', emptyTitle: 'No monitor yet', emptyText: 'A monitor watches the long operations of a site, such as the updates of an Azure Stack Hub, and tells of every change once, success included.', answered: 'Last answered', every: 'Looks every', failures: (n: number) => `${n} looks in a row failed`, answers: 'Answers', silent: 'Does not answer', way: 'By', operations: 'Operations', operation: 'Operation', outcome: 'Outcome', took: 'Took', steps: 'Steps', none: 'Nothing was seen yet.',
    waiting: 'Waiting', running: 'Running', succeeded: 'Succeeded', failed: 'Failed', attention: 'Needs attention', resolved: 'Over', add: 'Add a monitor', name: 'Name', site: 'Site', everyText: 'Such as 1m', remove: 'Remove', removeText: 'What it knew is forgotten.', neverLooked: 'never',
  },
  ja: {
    title: '更新の監視', emptyTitle: '監視はまだありません', emptyText: '監視は、Azure Stack Hub の更新など、サイトの長い処理を見守り、成功を含むすべての変化を 1 回ずつ通知します。', answered: '最後の応答', every: '確認間隔', failures: (n) => `${n} 回連続で失敗`, answers: '応答あり', silent: '応答なし', way: '経路', operations: '処理', operation: '処理', outcome: '結果', took: '所要時間', steps: '手順', none: 'まだ何も確認されていません。',
    waiting: '待機', running: '実行中', succeeded: '成功', failed: '失敗', attention: '要対応', resolved: '解消', add: '監視を追加', name: '名前', site: 'サイト', everyText: '1m など', remove: '削除', removeText: '記録は失われます。', neverLooked: 'なし',
  },
  fr: {
    title: 'Moniteurs de mises à jour', emptyTitle: 'Aucun moniteur', emptyText: 'Un moniteur suit les opérations longues d’un site, comme les mises à jour d’un Azure Stack Hub, et annonce chaque changement une fois, succès compris.', answered: 'Dernière réponse', every: 'Regarde toutes les', failures: (n) => `${n} échecs de suite`, answers: 'Répond', silent: 'Ne répond pas', way: 'Par', operations: 'Opérations', operation: 'Opération', outcome: 'Résultat', took: 'Durée', steps: 'Étapes', none: 'Rien n’a encore été vu.',
    waiting: 'En attente', running: 'En cours', succeeded: 'Réussi', failed: 'Échoué', attention: 'Demande attention', resolved: 'Terminé', add: 'Ajouter un moniteur', name: 'Nom', site: 'Site', everyText: 'Par exemple 1m', remove: 'Retirer', removeText: 'Ce qu’il savait est oublié.', neverLooked: 'jamais',
  },
});
