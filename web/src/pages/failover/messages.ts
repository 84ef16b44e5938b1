import { messages } from '../../i18n/i18n';

export const failover = messages({
  en: {
    title: (group: string) => `Fail over ${group}`, back: (group: string) => `Fail back ${group}`, groups: 'Groups', kind: 'What kind', point: 'Recovery point', plan: 'Recovery plan', review: 'What will happen', confirm: 'Confirm', next: 'Next', previous: 'Back',
    test: 'Rehearse', testText: 'Starts copies in an isolated network. Nothing is lost and nothing is disturbed; clean up afterwards.',
    planned: 'Move in good order', plannedText: 'Shuts the machines down, copies the last changes, starts them at the other site. Nothing is lost; the source must answer.',
    unplanned: 'The site is lost', unplannedText: 'Starts from a recovery point now. What came after that point is lost.',
    latest: 'Newest', latestText: 'Loses least', application: 'Newest application-consistent', applicationText: 'Databases were told to write everything down', filesystem: 'Newest file-system-consistent', chosen: 'A point of your choice', none: 'There is none', plannedPoint: 'A planned failover takes the point that its last copy makes.', noPlan: 'None: machines start by their order',
    loses: 'Loses', machine: 'Machine', machines: 'Machines', estimate: 'Expected RTO', measured: (by: string) => `measured by ${by}`, never: 'never measured: rehearse first', steps: 'Steps, in order', checks: 'Readiness', ready: 'No obstacle found', aware: 'See what to be aware of', found: (n: number) => (n === 1 ? '1 thing to look at' : `${n} things to look at`), warnings: 'Be aware', refused: 'Refused now', from: 'From', to: 'To', reuse: 'the machine that is held there, brought up to date', created: 'created there',
 goTest: 'Start the rehearsal', goPlanned: 'Move now', goUnplanned: 'Fail over now', typed: (group: string) => `To fail over, type the name of the group: ${group}`, looking: 'Looking at what would happen', remedy: 'What helps',
  },
  ja: {
    title: (group) => `${group} のフェールオーバー`, back: (group) => `${group} のフェールバック`, groups: 'グループ', kind: '種類', point: '復旧ポイント', plan: '復旧計画', review: '実行内容', confirm: '確認', next: '次へ', previous: '戻る',
    test: '訓練', testText: '隔離されたネットワークで複製を起動します。何も失われず、何にも影響しません。終了後に片付けてください。',
    planned: '計画的に移動', plannedText: 'マシンを停止し、最後の変更をコピーして、別サイトで起動します。何も失われません。元のサイトが応答する必要があります。',
    unplanned: 'サイト喪失', unplannedText: '復旧ポイントから今すぐ起動します。そのポイント以降の変更は失われます。',
    latest: '最新', latestText: '喪失が最小', application: '最新のアプリケーション整合', applicationText: 'データベースは書き込みを完了済み', filesystem: '最新のファイルシステム整合', chosen: 'ポイントを選択', none: 'ありません', plannedPoint: '計画フェールオーバーは最後のコピーで作られるポイントを使います。', noPlan: 'なし: マシンの順序で起動',
    loses: '喪失', machine: 'マシン', machines: 'マシン', estimate: '予想 RTO', measured: (by) => `${by} による実測`, never: '未測定: まず訓練してください', steps: '手順 (順番)', checks: '準備状況', ready: '障害は見つかりません', aware: '注意点を確認してください', found: (n) => `確認事項 ${n} 件`, warnings: '注意', refused: '現在は実行できません', from: '移動元', to: '移動先', reuse: '保持中のマシンを更新して使用', created: '新規作成',
 goTest: '訓練を開始', goPlanned: '今すぐ移動', goUnplanned: '今すぐフェールオーバー', typed: (group) => `実行するにはグループ名を入力してください: ${group}`, looking: '実行内容を確認中', remedy: '対処',
  },
  fr: {
    title: (group) => `Basculer ${group}`, back: (group) => `Retour de ${group}`, groups: 'Groupes', kind: 'Quel type', point: 'Point de reprise', plan: 'Plan de reprise', review: 'Ce qui va se passer', confirm: 'Confirmer', next: 'Suivant', previous: 'Précédent',
    test: 'Répéter', testText: 'Démarre des copies dans un réseau isolé. Rien n’est perdu ni dérangé ; nettoyez ensuite.',
    planned: 'Déplacer en bon ordre', plannedText: 'Arrête les machines, copie les derniers changements, les démarre à l’autre site. Rien n’est perdu ; la source doit répondre.',
    unplanned: 'Le site est perdu', unplannedText: 'Démarre maintenant depuis un point de reprise. Ce qui a suivi ce point est perdu.',
    latest: 'Le plus récent', latestText: 'Perd le moins', application: 'Le plus récent cohérent pour les applications', applicationText: 'Les bases de données avaient tout écrit', filesystem: 'Le plus récent cohérent pour le système de fichiers', chosen: 'Un point de votre choix', none: 'Il n’y en a pas', plannedPoint: 'Un basculement planifié prend le point que fait sa dernière copie.', noPlan: 'Aucun : les machines démarrent selon leur ordre',
    loses: 'Perd', machine: 'Machine', machines: 'Machines', estimate: 'RTO attendu', measured: (by) => `mesuré par ${by}`, never: 'jamais mesuré : répétez d’abord', steps: 'Étapes, dans l’ordre', checks: 'Préparation', ready: 'Aucun obstacle trouvé', aware: 'Voyez ce qui est à savoir', found: (n) => (n === 1 ? '1 chose à regarder' : `${n} choses à regarder`), warnings: 'À savoir', refused: 'Refusé maintenant', from: 'De', to: 'Vers', reuse: 'la machine qui y est retenue, mise à jour', created: 'créée là-bas',
 goTest: 'Commencer la répétition', goPlanned: 'Déplacer maintenant', goUnplanned: 'Basculer maintenant', typed: (group) => `Pour basculer, saisissez le nom du groupe : ${group}`, looking: 'Examen de ce qui se passerait', remedy: 'Ce qui aide',
  },
});
