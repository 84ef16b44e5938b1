import { messages } from '../../i18n/i18n';

export const plan = messages({
  en: {
    plans: 'Recovery plans', create: 'New plan', graph: 'What is done, in order', text: 'The plan in YAML', edit: 'Edit', save: 'Save', same: 'Saved: it means the same, so the version stays', discard: 'Discard changes', history: 'History', version: 'Version', by: 'By', at: 'At', runs: 'Runs of this plan', state: 'State', noRuns: 'This plan was not carried out yet. Rehearse it, so that it counts as verified.',
    rehearse: 'Rehearse', failOver: 'Fail over by this plan', remove: 'Delete', removeText: 'Runs under way go on with their copy of the plan. The group falls back to the order of its machines.', group: 'Group', choose: 'Which group is it for?', faults: (n: number) => (n === 1 ? 'One fault' : `${n} faults`), faultless: 'No fault found', warnings: 'What a run would stumble over now', line: (l: number, c: number) => `line ${l}, column ${c}`,
    before: 'Before anything is changed', stage: (n: number, name: string) => `Stage ${n}: ${name}`, after: 'When all is up', nothing: 'The plan cannot be drawn yet.', versionText: (v: number) => `Version ${v}`,
  },
  ja: {
    plans: '復旧計画', create: '新しい計画', graph: '実行内容と順序', text: '計画 (YAML)', edit: '編集', save: '保存', same: '保存しました。意味は同じため、バージョンは変わりません', discard: '変更を破棄', history: '履歴', version: 'バージョン', by: '実行者', at: '日時', runs: 'この計画の実行', state: '状態', noRuns: 'この計画はまだ実行されていません。検証済みとするには訓練してください。',
    rehearse: '訓練する', failOver: 'この計画でフェールオーバー', remove: '削除', removeText: '進行中の実行は計画の写しで続きます。グループはマシンの順序に戻ります。', group: 'グループ', choose: 'どのグループの計画ですか?', faults: (n) => `${n} 件の誤り`, faultless: '誤りはありません', warnings: '今実行すると問題になる点', line: (l, c) => `${l} 行 ${c} 列`,
    before: '何も変更する前', stage: (n, name) => `段階 ${n}: ${name}`, after: 'すべて起動した後', nothing: 'まだ図にできません。', versionText: (v) => `バージョン ${v}`,
  },
  fr: {
    plans: 'Plans de reprise', create: 'Nouveau plan', graph: 'Ce qui est fait, dans l’ordre', text: 'Le plan en YAML', edit: 'Modifier', save: 'Enregistrer', same: 'Enregistré : le sens est le même, la version reste', discard: 'Abandonner les changements', history: 'Historique', version: 'Version', by: 'Par', at: 'Le', runs: 'Exécutions de ce plan', state: 'État', noRuns: 'Ce plan n’a pas encore été exécuté. Répétez-le pour qu’il soit vérifié.',
    rehearse: 'Répéter', failOver: 'Basculer selon ce plan', remove: 'Supprimer', removeText: 'Les exécutions en cours continuent avec leur copie du plan. Le groupe revient à l’ordre de ses machines.', group: 'Groupe', choose: 'Pour quel groupe ?', faults: (n) => (n === 1 ? 'Une faute' : `${n} fautes`), faultless: 'Aucune faute trouvée', warnings: 'Ce qui gênerait une exécution maintenant', line: (l, c) => `ligne ${l}, colonne ${c}`,
    before: 'Avant tout changement', stage: (n, name) => `Étape ${n} : ${name}`, after: 'Quand tout est lancé', nothing: 'Le plan ne peut pas encore être dessiné.', versionText: (v) => `Version ${v}`,
  },
});
