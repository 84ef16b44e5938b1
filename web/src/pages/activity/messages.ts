import { messages } from '../../i18n/i18n';

export const activity = messages({
  en: {
    title: 'Activity', events: 'What happened', audit: 'Who asked for what', when: 'When', kind: 'Kind', group: 'Group', run: 'Run', message: 'What', search: 'Search', older: 'Older', actor: 'Who', operation: 'Asked for', object: 'Of', result: 'Result', address: 'From', verify: 'Verify the log', exported: 'Export (JSON lines)', intact: (n: number) => `The log is whole: ${n} entries, each bound to the one before`, broken: 'The log was changed', none: 'Nothing fits.', nothingYet: 'Nothing has happened yet.', nothingAsked: 'Nothing has been asked for yet.', noAudit: 'Your role does not show the audit log.', done: 'done', begun: 'begun', refused: 'refused', waits: 'waits for approval', failed: 'failed', gap: 'gap', head: 'Head', headText: 'Note it elsewhere: a later verification that expects it finds what was written anew.',
  },
  ja: {
    title: 'アクティビティ', events: '出来事', audit: '操作の記録', when: '日時', kind: '種類', group: 'グループ', run: '実行', message: '内容', search: '検索', older: '以前', actor: '実行者', operation: '操作', object: '対象', result: '結果', address: '接続元', verify: '記録を検証', exported: 'エクスポート (JSON Lines)', intact: (n) => `記録は完全です: ${n} 件、それぞれ直前の記録に結び付いています`, broken: '記録が改変されています', none: '該当なし。', nothingYet: 'まだ何も起きていません。', nothingAsked: '操作の記録はまだありません。', noAudit: 'あなたの役割では監査ログを表示できません。', done: '完了', begun: '開始', refused: '拒否', waits: '承認待ち', failed: '失敗', gap: '欠落', head: '先頭', headText: '別の場所に控えてください。後の検証でこの値を指定すると、書き換えを検出できます。',
  },
  fr: {
    title: 'Activité', events: 'Ce qui s’est passé', audit: 'Qui a demandé quoi', when: 'Quand', kind: 'Type', group: 'Groupe', run: 'Exécution', message: 'Quoi', search: 'Chercher', older: 'Plus anciens', actor: 'Qui', operation: 'A demandé', object: 'De', result: 'Résultat', address: 'Depuis', verify: 'Vérifier le journal', exported: 'Exporter (lignes JSON)', intact: (n) => `Le journal est entier : ${n} entrées, chacune liée à la précédente`, broken: 'Le journal a été modifié', none: 'Rien ne correspond.', nothingYet: 'Il ne s’est encore rien passé.', nothingAsked: 'Rien n’a encore été demandé.', noAudit: 'Votre rôle ne montre pas le journal d’audit.', done: 'fait', begun: 'commencé', refused: 'refusé', waits: 'attend une approbation', failed: 'échoué', gap: 'lacune', head: 'Tête', headText: 'Notez-la ailleurs : une vérification ultérieure qui l’attend trouve ce qui a été réécrit.',
  },
});
