import { messages } from '../../i18n/i18n';

export const group = messages({
  en: {
    groups: 'Groups', failNow: 'Fail over now', lose: 'lose', objective: (t: string) => `objective ${t}`, appPoint: 'Newest application-consistent point', noAppPoint: 'There is none: the policy asks for none, or the guests have no hooks.',
    proven: 'Proven to boot', rto: (t: string) => `in ${t}`, notProven: 'Never. Rehearse it: a drill boots the newest point in an isolated network.', lastCycle: 'Last cycle',
    cycle: (stored: string, changed: string, t: string) => `${changed} changed, ${stored} stored, in ${t}`, next: 'Next cycle',
    test: 'Test failover', planned: 'Planned failover', unplanned: 'Failover', sync: 'Capture now', pause: 'Pause', resume: 'Resume', points: 'Recovery points', drill: 'Run a drill',
    drillText: 'Starts copies from the newest recovery point in isolated networks, waits until they are healthy, keeps their screens, and removes them. Replication goes on.', plan: 'Recovery plan', noPlan: 'None: machines start by their order',
    pauseTitle: 'Pause replication', pauseText: 'No recovery points are made until it is resumed: what would be lost grows.', testTitle: 'Test failover',
    testText: (target: string) => `Starts the machines from the newest recovery point in isolated networks at ${target}. Replication goes on. Clean up afterwards.`,
    lag: 'Lag', lagAside: 'what a failover would have lost', rpo: 'Objective', rates: 'Throughput and change', changed: 'Changed on disk', stored: 'Written to the vault', zoom: 'Drag over the chart to zoom', reset: 'Whole span',
    hour: '1 h', day: '24 h', week: '7 d', month: '30 d', span: 'Span', noHistory: 'There is no history for this span yet.',
    machines: 'Machines and disks', machine: 'Machine', order: 'Starts', probe: 'Probe', disk: 'Disks', power: 'Power', noProbe: 'none', unknownMachine: 'not seen at its site now',
    settings: 'Protection', site: 'Runs at', target: 'Recovered at', vault: 'Vault', policy: 'Policy', keep: 'Keeps', appEvery: 'Consistent every', state: 'Life cycle',
    extensions: 'Extensions', noExtensions: 'None is known in these machines.', heartbeat: 'heartbeat', events: 'Events', noEvents: 'Nothing happened yet.', allEvents: 'All activity',
    split: 'Machines run at two sites', splitHint: 'Decide which site keeps the group.', waits: 'A run waits for a person', underWay: 'A run of this group is under way', liveSince: (t: string) => `Runs at its new site for ${t}; nothing protects it until it is reprotected.`, seeding: 'First copy', of: (a: string, b: string) => `${a} of ${b}`,
    
  },
  ja: {
    groups: 'グループ', failNow: '今フェールオーバーすると', lose: '失われる量', objective: (t) => `目標 ${t}`, appPoint: '最新のアプリケーション整合ポイント', noAppPoint: 'ありません。ポリシーで要求していないか、ゲストにフックがありません。',
    proven: '起動の実証', rto: (t) => `所要 ${t}`, notProven: '未実証です。訓練を行うと、最新のポイントを隔離ネットワークで起動します。', lastCycle: '直近のサイクル',
    cycle: (stored, changed, t) => `変更 ${changed}、保存 ${stored}、所要 ${t}`, next: '次のサイクル',
    test: 'テストフェールオーバー', planned: '計画フェールオーバー', unplanned: 'フェールオーバー', sync: '今すぐ取得', pause: '一時停止', resume: '再開', points: '復旧ポイント', drill: '訓練を実行',
    drillText: '最新の復旧ポイントから隔離ネットワークで複製を起動し、正常になるまで待ち、画面を記録してから削除します。レプリケーションは続きます。', plan: '復旧計画', noPlan: 'なし: マシンの順序で起動',
    pauseTitle: 'レプリケーションの一時停止', pauseText: '再開するまで復旧ポイントは作られず、失われる量が増えていきます。', testTitle: 'テストフェールオーバー',
    testText: (target) => `最新の復旧ポイントから ${target} の隔離ネットワークでマシンを起動します。レプリケーションは続きます。終わったら後片付けをしてください。`,
    lag: '遅延', lagAside: 'フェールオーバーした場合に失われた量', rpo: '目標', rates: '転送量と変更量', changed: 'ディスク上の変更', stored: 'ボールトへの書き込み', zoom: 'グラフ上をドラッグして拡大', reset: '全期間',
    hour: '1 時間', day: '24 時間', week: '7 日', month: '30 日', span: '期間', noHistory: 'この期間の履歴はまだありません。',
    machines: 'マシンとディスク', machine: 'マシン', order: '起動順', probe: 'プローブ', disk: 'ディスク', power: '電源', noProbe: 'なし', unknownMachine: '現在サイトに見当たりません',
    settings: '保護設定', site: '稼働サイト', target: '復旧先', vault: 'ボールト', policy: 'ポリシー', keep: '保持', appEvery: '整合ポイントの間隔', state: 'ライフサイクル',
    extensions: '拡張機能', noExtensions: 'これらのマシンには見つかっていません。', heartbeat: 'ハートビート', events: 'イベント', noEvents: 'まだ何も起きていません。', allEvents: 'すべての履歴',
    split: '二つのサイトでマシンが稼働しています', splitHint: 'グループを維持するサイトを決めてください。', waits: '実行が対応を待っています', underWay: 'このグループの実行が進行中です', liveSince: (t) => `新しいサイトで ${t} 稼働中です。再保護するまで保護されません。`, seeding: '初回コピー', of: (a, b) => `${a} / ${b}`,
    
  },
  fr: {
    groups: 'Groupes', failNow: 'Basculer maintenant', lose: 'perdre', objective: (t) => `objectif ${t}`, appPoint: 'Dernier point cohérent pour les applications', noAppPoint: 'Aucun : la politique n’en demande pas, ou les invités n’ont pas de crochets.',
    proven: 'Démarrage prouvé', rto: (t) => `en ${t}`, notProven: 'Jamais. Répétez-le : un exercice démarre le dernier point dans un réseau isolé.', lastCycle: 'Dernier cycle',
    cycle: (stored, changed, t) => `${changed} modifiés, ${stored} écrits, en ${t}`, next: 'Prochain cycle',
    test: 'Basculement d’essai', planned: 'Basculement planifié', unplanned: 'Basculement', sync: 'Capturer', pause: 'Suspendre', resume: 'Reprendre', points: 'Points de reprise', drill: 'Lancer un exercice',
    drillText: 'Démarre des copies depuis le point de reprise le plus récent dans des réseaux isolés, attend qu’elles soient saines, garde leurs écrans et les supprime. La réplication continue.', plan: 'Plan de reprise', noPlan: 'Aucun : les machines démarrent selon leur ordre',
    pauseTitle: 'Suspendre la réplication', pauseText: 'Aucun point de reprise n’est créé jusqu’à la reprise : la perte possible grandit.', testTitle: 'Basculement d’essai',
    testText: (target) => `Démarre les machines depuis le dernier point dans des réseaux isolés à ${target}. La réplication continue. Nettoyez ensuite.`,
    lag: 'Retard', lagAside: 'ce qu’un basculement aurait perdu', rpo: 'Objectif', rates: 'Débit et modifications', changed: 'Modifié sur disque', stored: 'Écrit dans le coffre', zoom: 'Glissez sur le graphique pour agrandir', reset: 'Toute la période',
    hour: '1 h', day: '24 h', week: '7 j', month: '30 j', span: 'Période', noHistory: 'Pas encore d’historique pour cette période.',
    machines: 'Machines et disques', machine: 'Machine', order: 'Démarre', probe: 'Sonde', disk: 'Disques', power: 'Alimentation', noProbe: 'aucune', unknownMachine: 'pas vue sur son site',
    settings: 'Protection', site: 'Tourne à', target: 'Repris à', vault: 'Coffre', policy: 'Politique', keep: 'Garde', appEvery: 'Cohérent tous les', state: 'Cycle de vie',
    extensions: 'Extensions', noExtensions: 'Aucune n’est connue dans ces machines.', heartbeat: 'signe de vie', events: 'Évènements', noEvents: 'Rien ne s’est encore passé.', allEvents: 'Toute l’activité',
    split: 'Des machines tournent sur deux sites', splitHint: 'Décidez quel site garde le groupe.', waits: 'Une exécution attend une personne', underWay: 'Une exécution de ce groupe est en cours', liveSince: (t) => `Tourne sur son nouveau site depuis ${t} ; rien ne le protège avant la reprotection.`, seeding: 'Première copie', of: (a, b) => `${a} sur ${b}`,
    
  },
});
