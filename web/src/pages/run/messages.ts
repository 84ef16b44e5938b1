import { messages } from '../../i18n/i18n';

export const run = messages({
  en: {
    runs: 'Runs', of: (kind: string, about: string) => `${kind} of ${about}`, summary: 'Summary', group: 'Group', point: 'Recovery point', by: 'Asked for by', plan: 'Recovery plan', begun: 'Began', ended: 'Ended', took: 'Took', running: 'Running for',
    rto: 'Achieved RTO', rpo: 'Achieved RPO', lost: (t: string) => `lost ${t}`, safe: 'You can close this tab: the run goes on at the controller, and through its restarts.',
    steps: 'Steps', asTable: 'Steps', asTimeline: 'Timeline', step: 'Step', attempts: (n: number) => `${n} attempts`, left: (t: string) => `${t} left`, noSteps: 'No step has begun yet.',
    cancel: 'Cancel the run', cancelText: 'The step under way is given up and what it made is cleaned up. What the run does to get there is shown here.', report: 'Report', evidence: 'Evidence', screen: (m: string) => `Screen of ${m}`, console: (m: string) => `Console of ${m}`, missing: 'not taken',
    asks: 'This run waits for you', until: 'until', note: 'Note', reason: 'Why (needed to skip)', approve: 'Approve', reject: 'Reject', retry: 'Try again', skip: 'Skip', confirmMove: 'Confirm the move', deleteSource: 'Delete the source for good', failedAt: 'What went wrong', next: 'Next', result: 'Result', machines: 'Machines', healthy: 'Healthy after', actions: 'Actions of the plan',
    commit: 'Commit', commitText: 'The failover is made final: the machines no longer depend on the vault, and the way back begins with a reprotection.', choose: 'Another recovery point', cleanup: 'Clean up', cleanupText: 'Everything that the test failover made is removed.', reprotect: 'Reprotect', reprotectText: 'Recovery points begin where the group runs now, and the way back is prepared.',
    failback: 'Fail back', resume: 'Go on', watchTo: 'Waits until you commit, or choose another recovery point. Look at the machines first.', afterTest: 'Look at the machines in their isolated network, then clean up: only then it counts as a proof.', stepState: 'State', at: 'began', console_: 'Text',
  },
  ja: {
    runs: '実行', of: (kind, about) => `${about} の${kind}`, summary: '概要', group: 'グループ', point: '復旧ポイント', by: '要求者', plan: '復旧計画', begun: '開始', ended: '終了', took: '所要時間', running: '経過時間',
    rto: '実績 RTO', rpo: '実績 RPO', lost: (t) => `${t}分を喪失`, safe: 'このタブは閉じてもかまいません。実行はコントローラーで続き、再起動後も再開されます。',
    steps: '手順', asTable: '一覧', asTimeline: 'タイムライン', step: '手順', attempts: (n) => `${n} 回試行`, left: (t) => `残り ${t}`, noSteps: 'まだ手順は始まっていません。',
    cancel: '実行を中止', cancelText: '進行中の手順を中断し、作成したものを片付けます。その経過はここに表示されます。', report: 'レポート', evidence: '証跡', screen: (m) => `${m} の画面`, console: (m) => `${m} のコンソール`, missing: '取得なし',
    asks: 'この実行はあなたの対応を待っています', until: '期限', note: 'メモ', reason: '理由 (スキップに必要)', approve: '承認', reject: '却下', retry: '再試行', skip: 'スキップ', confirmMove: '移動を確定', deleteSource: '移動元を完全に削除する', failedAt: '問題', next: '次の操作', result: '結果', machines: 'マシン', healthy: '正常になるまで', actions: '計画のアクション',
    commit: '確定', commitText: 'フェールオーバーを確定します。マシンはボールトに依存しなくなり、復帰は再保護から始まります。', choose: '別の復旧ポイント', cleanup: '後片付け', cleanupText: 'テストフェールオーバーで作成されたものをすべて削除します。', reprotect: '再保護', reprotectText: '現在の稼働サイトで復旧ポイントの作成を始め、復帰の準備をします。',
    failback: 'フェールバック', resume: '続行', watchTo: '確定するか別の復旧ポイントを選ぶまで待機します。まずマシンを確認してください。', afterTest: '隔離ネットワーク内のマシンを確認してから後片付けをしてください。後片付けまで完了して初めて実証となります。', stepState: '状態', at: '開始', console_: 'テキスト',
  },
  fr: {
    runs: 'Exécutions', of: (kind, about) => `${kind} de ${about}`, summary: 'Résumé', group: 'Groupe', point: 'Point de reprise', by: 'Demandée par', plan: 'Plan de reprise', begun: 'Début', ended: 'Fin', took: 'Durée', running: 'En cours depuis',
    rto: 'RTO atteint', rpo: 'RPO atteint', lost: (t) => `${t} perdues`, safe: 'Vous pouvez fermer cet onglet : l’exécution continue au contrôleur, même après un redémarrage.',
    steps: 'Étapes', asTable: 'Étapes', asTimeline: 'Chronologie', step: 'Étape', attempts: (n) => `${n} tentatives`, left: (t) => `reste ${t}`, noSteps: 'Aucune étape n’a encore commencé.',
    cancel: 'Annuler l’exécution', cancelText: 'L’étape en cours est abandonnée et ce qu’elle a créé est nettoyé. Le déroulement est montré ici.', report: 'Rapport', evidence: 'Preuves', screen: (m) => `Écran de ${m}`, console: (m) => `Console de ${m}`, missing: 'non prise',
    asks: 'Cette exécution vous attend', until: 'jusqu’à', note: 'Note', reason: 'Pourquoi (nécessaire pour passer)', approve: 'Approuver', reject: 'Refuser', retry: 'Réessayer', skip: 'Passer', confirmMove: 'Confirmer le déplacement', deleteSource: 'Supprimer la source définitivement', failedAt: 'Ce qui a échoué', next: 'Ensuite', result: 'Résultat', machines: 'Machines', healthy: 'Saine après', actions: 'Actions du plan',
    commit: 'Valider', commitText: 'Le basculement devient définitif : les machines ne dépendent plus du coffre, et le retour commence par une reprotection.', choose: 'Un autre point de reprise', cleanup: 'Nettoyer', cleanupText: 'Tout ce que le basculement d’essai a créé est supprimé.', reprotect: 'Reprotéger', reprotectText: 'Les points de reprise commencent là où le groupe tourne, et le retour est préparé.',
    failback: 'Revenir', resume: 'Continuer', watchTo: 'Attend que vous validiez ou choisissiez un autre point de reprise. Regardez d’abord les machines.', afterTest: 'Regardez les machines dans leur réseau isolé, puis nettoyez : alors seulement cela compte comme preuve.', stepState: 'État', at: 'début', console_: 'Texte',
  },
});
