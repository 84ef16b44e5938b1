import { messages } from '../../i18n/i18n';

export const points = messages({
  en: {
    groups: 'Groups', title: 'Recovery points', count: (n: string) => (n === '1' ? '1 point' : `${n} points`), timeline: 'Timeline of recovery points. The arrow keys go from point to point.', now: 'now',
    application: 'Application consistent', filesystem: 'File-system consistent', crash: 'Crash consistent', named: 'Named: kept until unnamed', provenMark: 'Proven to boot', base: 'Base',
    only: 'Show', all: 'All', atLeastFs: 'File-system consistent', atLeastApp: 'Application consistent', onlyNamed: 'Named', time: 'Instant', kind: 'Kind', names: 'Names', stored: 'Stored', changed: 'Changed',
    selected: 'Chosen point', lose: 'A failover to it loses', test: 'Test failover from here', failover: 'Fail over to here', name: 'Name it', nameTitle: 'Name the recovery point', nameLabel: 'Name',
    nameText: 'A point with a name is kept until the name is taken away, whatever the retention says.', unname: (n: string) => `Take the name ${n} away`, unnameText: 'Retention may drop the point from now on.', remove: 'Take away',
    testTitle: 'Test failover', testText: (t: string) => `Starts the machines as they were at ${t}, in isolated networks. Replication goes on. Clean up afterwards.`,
    otherWays: 'What else can be done with it', restore: 'Restore a disk to a file', clone: 'Clone a machine as it was', mount: 'Look inside, without changing it',
    foresee: 'What retention keeps', today: 'Now', hour: 'In 1 h', day: 'In a day', week: 'In a week', month: 'In a month', kept: (n: string, of: string, tiers: string) => `${n} of ${of} will still exist (${tiers}).`, dropped: 'will be gone',
    emptyTitle: 'There is no recovery point yet', emptyText: 'The first one exists when the first full copy is done. From then on one is made at every cycle in which something changed.',
    size: 'Size of all disks', latest: 'the newest', choose: (t: string) => `Choose the point of ${t}`,
  },
  ja: {
    groups: 'グループ', title: '復旧ポイント', count: (n) => `${n} 個`, timeline: '復旧ポイントの時系列。矢印キーで移動できます。', now: '現在',
    application: 'アプリケーション整合', filesystem: 'ファイルシステム整合', crash: 'クラッシュ整合', named: '名前付き：名前を外すまで保持', provenMark: '起動を実証済み', base: 'ベース',
    only: '表示', all: 'すべて', atLeastFs: 'ファイルシステム整合以上', atLeastApp: 'アプリケーション整合', onlyNamed: '名前付き', time: '時点', kind: '種類', names: '名前', stored: '保存量', changed: '変更量',
    selected: '選択中のポイント', lose: 'ここへ戻すと失われる量', test: 'ここからテストフェールオーバー', failover: 'ここへフェールオーバー', name: '名前を付ける', nameTitle: '復旧ポイントに名前を付ける', nameLabel: '名前',
    nameText: '名前の付いたポイントは、保持設定にかかわらず、名前を外すまで残ります。', unname: (n) => `名前 ${n} を外す`, unnameText: '今後は保持設定により削除される場合があります。', remove: '外す',
    testTitle: 'テストフェールオーバー', testText: (t) => `${t} の状態のマシンを隔離ネットワークで起動します。レプリケーションは続きます。終わったら後片付けをしてください。`,
    otherWays: 'ほかにできること', restore: 'ディスクをファイルに復元', clone: 'その時点のマシンを複製', mount: '変更せずに中を確認',
    foresee: '保持設定で残るもの', today: '現在', hour: '1 時間後', day: '1 日後', week: '1 週間後', month: '1 か月後', kept: (n, of, tiers) => `${of} 個中 ${n} 個が残ります (${tiers})。`, dropped: 'その時点では削除済み',
    emptyTitle: '復旧ポイントがまだありません', emptyText: '初回の完全コピーが終わると最初のポイントができます。以後、変更があったサイクルごとに作られます。',
    size: '全ディスクの容量', latest: '最新', choose: (t) => `${t} のポイントを選択`,
  },
  fr: {
    groups: 'Groupes', title: 'Points de reprise', count: (n) => (n === '1' ? '1 point' : `${n} points`), timeline: 'Chronologie des points de reprise. Les flèches vont de point en point.', now: 'maintenant',
    application: 'Cohérent pour les applications', filesystem: 'Cohérent pour les fichiers', crash: 'Cohérent après panne', named: 'Nommé : gardé jusqu’au retrait du nom', provenMark: 'Démarrage prouvé', base: 'Base',
    only: 'Afficher', all: 'Tous', atLeastFs: 'Cohérents pour les fichiers', atLeastApp: 'Cohérents pour les applications', onlyNamed: 'Nommés', time: 'Instant', kind: 'Genre', names: 'Noms', stored: 'Stocké', changed: 'Modifié',
    selected: 'Point choisi', lose: 'Y basculer fait perdre', test: 'Basculement d’essai d’ici', failover: 'Basculer à ce point', name: 'Le nommer', nameTitle: 'Nommer le point de reprise', nameLabel: 'Nom',
    nameText: 'Un point nommé est gardé jusqu’au retrait de son nom, quelle que soit la rétention.', unname: (n) => `Retirer le nom ${n}`, unnameText: 'La rétention peut désormais supprimer le point.', remove: 'Retirer',
    testTitle: 'Basculement d’essai', testText: (t) => `Démarre les machines telles qu’elles étaient le ${t}, dans des réseaux isolés. La réplication continue. Nettoyez ensuite.`,
    otherWays: 'Ce qu’on peut en faire d’autre', restore: 'Restaurer un disque dans un fichier', clone: 'Cloner une machine telle qu’elle était', mount: 'Regarder dedans sans rien changer',
    foresee: 'Ce que la rétention garde', today: 'Maintenant', hour: 'Dans 1 h', day: 'Dans un jour', week: 'Dans une semaine', month: 'Dans un mois', kept: (n, of, tiers) => `${n} sur ${of} existeront encore (${tiers}).`, dropped: 'n’existera plus',
    emptyTitle: 'Pas encore de point de reprise', emptyText: 'Le premier existe dès que la première copie complète est finie. Ensuite, chaque cycle où quelque chose a changé en crée un.',
    size: 'Taille de tous les disques', latest: 'le plus récent', choose: (t) => `Choisir le point du ${t}`,
  },
});

/** Words for taking disks out. */
export const takeout = messages({
  en: {
    disk: 'Disk', format: 'Format', restoreTitle: 'Restore a disk to a file', download: 'Download', restoreText: (t: string) => `The disk as it was at ${t}, as an image file. Nothing that runs is touched.`,
    ofQcow2: 'Without what is empty. For QEMU.', ofRaw: 'The disk as it is: as large as the whole disk.', ofVhd: 'Without what is empty. For Hyper-V and Azure; up to 2 TiB.',
    mountTitle: 'Look inside, over NBD', mount: 'Serve it', mountText: (t: string) => `The disk as it was at ${t} is served for reading, on the machine where the controller runs.`, lasts: 'For how long',
    mounted: (d: string) => `${d} is served`, until: 'Until', onHost: 'Attach it on the machine where the controller runs, as the controller’s user or as root:', secret: 'The name of the export is a secret and is not shown again. It can be ended before its time, below.', done: 'Done',
    readers: 'Being read now', who: 'By', ends: 'Ends', revoke: 'End it',
  },
  ja: {
    disk: 'ディスク', format: '形式', restoreTitle: 'ディスクをファイルに復元', download: 'ダウンロード', restoreText: (t) => `${t} 時点のディスクをイメージファイルとして取り出します。稼働中のものには影響しません。`,
    ofQcow2: '空の部分は含みません。QEMU 用。', ofRaw: 'ディスクそのまま。容量全体の大きさになります。', ofVhd: '空の部分は含みません。Hyper-V と Azure 用、2 TiB まで。',
    mountTitle: 'NBD で中を確認', mount: '提供する', mountText: (t) => `${t} 時点のディスクを、コントローラーが動くマシン上で読み取り専用で提供します。`, lasts: '期間',
    mounted: (d) => `${d} を提供中`, until: '期限', onHost: 'コントローラーが動くマシンで、コントローラーのユーザーまたは root として接続してください：', secret: 'エクスポート名は秘密で、再表示されません。期限前の終了は下の一覧からできます。', done: '完了',
    readers: '現在の読み取り', who: '実行者', ends: '終了', revoke: '終了させる',
  },
  fr: {
    disk: 'Disque', format: 'Format', restoreTitle: 'Restaurer un disque dans un fichier', download: 'Télécharger', restoreText: (t) => `Le disque tel qu’il était le ${t}, comme fichier image. Rien de ce qui tourne n’est touché.`,
    ofQcow2: 'Sans ce qui est vide. Pour QEMU.', ofRaw: 'Le disque tel quel : de la taille du disque entier.', ofVhd: 'Sans ce qui est vide. Pour Hyper-V et Azure ; jusqu’à 2 Tio.',
    mountTitle: 'Regarder dedans, par NBD', mount: 'Le servir', mountText: (t) => `Le disque tel qu’il était le ${t} est servi en lecture, sur la machine où tourne le contrôleur.`, lasts: 'Pour combien de temps',
    mounted: (d) => `${d} est servi`, until: 'Jusqu’au', onHost: 'Attachez-le sur la machine où tourne le contrôleur, comme son utilisateur ou comme root :', secret: 'Le nom de l’export est un secret et ne sera plus montré. On peut y mettre fin plus tôt, ci-dessous.', done: 'Terminé',
    readers: 'Lus en ce moment', who: 'Par', ends: 'Fin', revoke: 'Y mettre fin',
  },
});
