import { messages } from '../../i18n/i18n';

/** Writes a number as the reader does. */
type Write = (n: number) => string;

const are = (n: number, f: Write) => (n === 1 ? '1 group needs attention' : `${f(n)} groups need attention`);

export const overview = messages({
  en: {
    title: 'Overview', safe: (n: number, f: Write) => (n === 1 ? 'The one group is safe' : `All ${f(n)} groups are safe`),
    unproven: (n: number, of: number, f: Write) => (of === 1 ? 'Replicated, but not proven to boot' : `Replicated, but ${f(n)} of ${f(of)} groups are not proven to boot`),
    attention: (n: number, of: number, f: Write) => `${are(n, f)}, of ${f(of)}`, unknown: 'How things are is unknown',
    unknownText: 'The controller does not answer. The numbers below are from the last time that it did.',
    asOf: 'As of', waiting: 'Waits for a person', splitBrains: 'Runs at two sites', splitText: (m: string) => `${m} must not run. Decide which site keeps the group.`,
    overdue: 'Drills overdue', overdueText: (age: string, limit: string) => `last proof ${age} old, at most ${limit}`, monitors: 'Monitors in alarm',
    worst: 'Most would be lost', worstText: 'What a failover now would lose, against the objective', lose: (t: string, rpo: string) => `${t} of ${rpo}`,
    running: 'Running now', nothingRuns: 'No run is under way.', vaults: 'Vaults', groups: (n: number) => (n === 1 ? '1 group' : `${n} groups`), held: (b: string) => `${b} held`, free: (b: string) => `${b} free`, notCounted: 'not added up yet', noVaults: 'There is no vault yet.',
    nothingWaits: 'Nothing waits for a person, no drill is overdue.', needs: 'Needs somebody', critical: 'Critical', failOver: (t: string) => `Fail over: lose ${t}`, moreCritical: (n: number) => `${n} more critical`,
    unprotected: (n: string) => (n === '1' ? '1 machine is not protected' : `${n} machines are not protected`), unprotectedText: 'If their site is lost, so are they.',
    emptyTitle: 'Nothing is protected yet', emptyText: 'Say where machines run, where recovery points are kept, and which machines belong together: with three commands, or on these pages.',
    allGroups: 'All groups',
    'failed-over': 'Failed over: watch it, then commit', committed: 'Committed: to be reprotected', 'test-running': 'A test failover runs: clean it up when you are done', 'test-failed': 'A test failover failed: clean up what it left',
    decide: 'Waits for a decision', moreUndecided: (n: number) => (n === 1 ? '1 more waits for a decision' : `${n} more wait for a decision`), approvals: (n: number) => (n === 1 ? '1 request waits for a second person' : `${n} requests wait for a second person`), approvalsText: 'Approve or reject what others asked for.',
  },
  ja: {
    title: '概要', safe: (n, f) => `${f(n)} グループすべてが安全です`, unproven: (n, of, f) => `レプリケーションは正常ですが、${f(of)} グループ中 ${f(n)} グループは起動が実証されていません`, attention: (n, of, f) => `${f(of)} グループ中 ${f(n)} グループに対応が必要です`, unknown: '現在の状態は不明です',
    unknownText: 'コントローラーが応答しません。以下の数値は最後に応答があった時点のものです。',
    asOf: '時点', waiting: '対応待ち', splitBrains: '二つのサイトで稼働', splitText: (m) => `${m} は稼働してはなりません。グループを維持するサイトを決めてください。`,
    overdue: '期限超過の訓練', overdueText: (age, limit) => `最後の実証から ${age}、上限 ${limit}`, monitors: '警報中のモニター',
    worst: '失われる量が多い順', worstText: '今フェールオーバーした場合に失われる量と目標', lose: (t, rpo) => `${t} / 目標 ${rpo}`,
    running: '実行中', nothingRuns: '実行中の処理はありません。', vaults: 'ボールト', groups: (n) => `${n} グループ`, held: (b) => `使用 ${b}`, free: (b) => `空き ${b}`, notCounted: '未集計', noVaults: 'ボールトがまだありません。',
    nothingWaits: '対応待ちも期限超過の訓練もありません。', needs: '要対応', critical: '重大', failOver: (t) => `フェールオーバー: ${t}分を喪失`, moreCritical: (n) => `ほかに重大 ${n} 件`,
    unprotected: (n) => `${n} 台のマシンが保護されていません`, unprotectedText: 'サイトが失われると、一緒に失われます。',
    emptyTitle: 'まだ何も保護されていません', emptyText: 'マシンの稼働サイト、復旧ポイントの保管先、まとめて扱うマシンを指定します。三つのコマンド、または次のページで設定できます。',
    allGroups: 'すべてのグループ',
    'failed-over': 'フェールオーバー済み: 確認してから確定してください', committed: '確定済み: 再保護してください', 'test-running': 'テストフェールオーバーが稼働中です。終わったら後片付けをしてください', 'test-failed': 'テストフェールオーバーが失敗しました。残ったものを後片付けしてください',
    decide: '判断待ち', moreUndecided: (n) => `ほかに判断待ち ${n} 件`, approvals: (n) => `${n} 件の申請が二人目の承認を待っています`, approvalsText: 'ほかの人の申請を承認または却下してください。',
  },
  fr: {
    title: 'Vue d’ensemble', safe: (n, f) => (n === 1 ? 'Le seul groupe est en sécurité' : `Les ${f(n)} groupes sont en sécurité`),
    unproven: (n, of, f) => (of === 1 ? 'Répliqué, mais démarrage non prouvé' : `Répliqué, mais ${f(n)} groupes sur ${f(of)} sans démarrage prouvé`),
    attention: (n, of, f) => `${f(n)} ${n === 1 ? 'groupe demande' : 'groupes demandent'} votre attention, sur ${f(of)}`, unknown: 'L’état actuel est inconnu',
    unknownText: 'Le contrôleur ne répond pas. Les chiffres ci-dessous datent de sa dernière réponse.',
    asOf: 'État de', waiting: 'Attend une personne', splitBrains: 'Actif sur deux sites', splitText: (m) => `${m} ne doit pas tourner. Décidez quel site garde le groupe.`,
    overdue: 'Exercices en retard', overdueText: (age, limit) => `dernière preuve : ${age}, au plus ${limit}`, monitors: 'Moniteurs en alarme',
    worst: 'Les plus grandes pertes', worstText: 'Ce qu’un basculement perdrait maintenant, et l’objectif', lose: (t, rpo) => `${t} sur ${rpo}`,
    running: 'En cours', nothingRuns: 'Aucune exécution en cours.', vaults: 'Coffres', groups: (n) => (n === 1 ? '1 groupe' : `${n} groupes`), held: (b) => `${b} occupés`, free: (b) => `${b} libres`, notCounted: 'pas encore compté', noVaults: 'Il n’y a pas encore de coffre.',
    nothingWaits: 'Rien n’attend personne, aucun exercice n’est en retard.', needs: 'Demande quelqu’un', critical: 'Critique', failOver: (t) => `Basculer : perdre ${t}`, moreCritical: (n) => (n === 1 ? '1 autre critique' : `${n} autres critiques`),
    unprotected: (n) => (n === '1' ? '1 machine n’est pas protégée' : `${n} machines ne sont pas protégées`), unprotectedText: 'Si leur site est perdu, elles le sont aussi.',
    emptyTitle: 'Rien n’est encore protégé', emptyText: 'Indiquez où tournent les machines, où sont gardés les points de reprise, et quelles machines vont ensemble : par trois commandes, ou sur ces pages.',
    allGroups: 'Tous les groupes',
    'failed-over': 'Basculé : observez, puis validez', committed: 'Validé : à reprotéger', 'test-running': 'Un basculement d’essai tourne : nettoyez-le quand vous aurez fini', 'test-failed': 'Un basculement d’essai a échoué : nettoyez ce qu’il a laissé',
    decide: 'Attend une décision', moreUndecided: (n) => (n === 1 ? '1 autre attend une décision' : `${n} autres attendent une décision`), approvals: (n) => (n === 1 ? '1 demande attend une deuxième personne' : `${n} demandes attendent une deuxième personne`), approvalsText: 'Approuvez ou refusez ce que d’autres ont demandé.',
  },
});
