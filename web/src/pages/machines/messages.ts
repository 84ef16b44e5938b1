import { messages } from '../../i18n/i18n';

export const machines = messages({
  en: {
    title: 'Machines', found: (n: string) => (n === '1' ? '1 machine' : `${n} machines`), machine: 'Machine', site: 'Site', group: 'Group', power: 'Power', size: 'Size', lose: 'Lose now',
    search: 'Search by name', any: 'any', provider: 'Provider', protection: 'Protection', protectedYes: 'protected', protectedNo: 'not protected', clear: 'Show all',
    unprotected: 'Not protected', protect: 'Protect', unprotectedNote: (n: string) => (n === '1' ? '1 machine is not protected' : `${n} machines are not protected`),
    unprotectedText: 'What is not protected is lost with its site.', showThem: 'Show them', on: 'On', off: 'Off', paused: 'Paused', unknown: 'Unknown', cpus: (n: number, memory: string) => `${n} CPU, ${memory}`,
    noneTitle: 'No machine fits', noneText: 'Change the search or the filters.', emptyTitle: 'There are no machines yet', emptyText: 'Machines are those that the sites have. Add a site to see them here.',
    protectTitle: (m: string) => `Protect ${m}`, protectText: 'Its recovery points are made from now on, beginning with a full copy. Machines that belong together are captured at one instant when they are in one group: for that, use the command with several machines.',
    groupName: 'Name of the new group', taken: 'There is such a group. Add the machine to it with the command.', vault: 'Vault', policy: 'Policy', target: 'Where it would be recovered', noVault: 'There is no vault yet:',
  },
  ja: {
    title: 'マシン', found: (n) => `${n} 台`, machine: 'マシン', site: 'サイト', group: 'グループ', power: '電源', size: '容量', lose: '今失われる量',
    search: '名前で検索', any: 'すべて', provider: 'プロバイダー', protection: '保護', protectedYes: '保護中', protectedNo: '未保護', clear: 'すべて表示',
    unprotected: '未保護', protect: '保護する', unprotectedNote: (n) => `${n} 台が保護されていません`,
    unprotectedText: 'サイトが失われると、一緒に失われます。', showThem: '表示する', on: 'オン', off: 'オフ', paused: '一時停止', unknown: '不明', cpus: (n, memory) => `${n} CPU、${memory}`,
    noneTitle: '該当するマシンがありません', noneText: '検索語や絞り込みを変更してください。', emptyTitle: 'マシンがまだありません', emptyText: 'サイトにあるマシンが表示されます。まずサイトを追加してください。',
    protectTitle: (m) => `${m} を保護する`, protectText: '完全コピーから始めて、以後の復旧ポイントを作ります。同じグループのマシンは同一時点で取得されます。まとめる場合は複数のマシンを指定してコマンドを使ってください。',
    groupName: '新しいグループの名前', taken: 'そのグループは既にあります。コマンドでマシンを追加してください。', vault: 'ボールト', policy: 'ポリシー', target: '復旧先', noVault: 'ボールトがまだありません：',
  },
  fr: {
    title: 'Machines', found: (n) => (n === '1' ? '1 machine' : `${n} machines`), machine: 'Machine', site: 'Site', group: 'Groupe', power: 'Alimentation', size: 'Taille', lose: 'Perte actuelle',
    search: 'Chercher par nom', any: 'tous', provider: 'Fournisseur', protection: 'Protection', protectedYes: 'protégées', protectedNo: 'non protégées', clear: 'Tout afficher',
    unprotected: 'Non protégée', protect: 'Protéger', unprotectedNote: (n) => (n === '1' ? '1 machine n’est pas protégée' : `${n} machines ne sont pas protégées`),
    unprotectedText: 'Ce qui n’est pas protégé est perdu avec son site.', showThem: 'Les montrer', on: 'En marche', off: 'Arrêtée', paused: 'En pause', unknown: 'Inconnue', cpus: (n, memory) => `${n} CPU, ${memory}`,
    noneTitle: 'Aucune machine ne correspond', noneText: 'Changez la recherche ou les filtres.', emptyTitle: 'Pas encore de machine', emptyText: 'Les machines sont celles des sites. Ajoutez un site pour les voir ici.',
    protectTitle: (m) => `Protéger ${m}`, protectText: 'Ses points de reprise sont faits dès maintenant, en commençant par une copie complète. Les machines d’un même groupe sont capturées au même instant : pour cela, donnez plusieurs machines à la commande.',
    groupName: 'Nom du nouveau groupe', taken: 'Ce groupe existe. Ajoutez-y la machine avec la commande.', vault: 'Coffre', policy: 'Politique', target: 'Où elle serait reprise', noVault: 'Pas encore de coffre :',
  },
});
