import { messages } from '../i18n/i18n';

/** Words of the frame around all pages. */
export const frame = messages({
  en: {
    nav: 'Pages', skip: 'Skip to the content', menu: 'Menu', language: 'Language', light: 'Light', dark: 'Dark', auto: 'As the system', theme: 'Colours',
    signOut: 'Sign out', signedIn: (user: string) => `Signed in as ${user}`, running: (n: number) => (n === 0 ? 'Nothing is running' : `${n} running`),
    waiting: (n: number) => `${n} waiting for a person`, runs: 'Runs now', idle: 'No run is under way.', allRuns: 'All runs', unknown: 'Unknown', waits: 'waits for you',
    lost: (since: string) => `The controller cannot be reached since ${since}. What is shown is from then; how things are now is unknown.`,
    notFound: 'There is no such page', notFoundText: 'The address may have been mistyped, or what it showed is gone.', home: 'To the overview', failed: 'This page failed',
    reload: 'Reload',
  },
  ja: {
    nav: 'ページ', skip: '本文へ移動', menu: 'メニュー', language: '言語', light: 'ライト', dark: 'ダーク', auto: 'システムに合わせる', theme: '配色',
    signOut: 'サインアウト', signedIn: (user) => `${user} としてサインイン中`, running: (n) => (n === 0 ? '実行中なし' : `${n} 件実行中`),
    waiting: (n) => `${n} 件が対応待ち`, runs: '実行中', idle: '実行中の処理はありません。', allRuns: 'すべての実行', unknown: '不明', waits: '対応待ち',
    lost: (since) => `${since} からコントローラーに接続できません。表示はその時点のもので、現在の状態は不明です。`,
    notFound: 'ページがありません', notFoundText: 'アドレスが誤っているか、対象がなくなっています。', home: '概要へ', failed: 'このページでエラーが発生しました',
    reload: '再読み込み',
  },
  fr: {
    nav: 'Pages', skip: 'Aller au contenu', menu: 'Menu', language: 'Langue', light: 'Clair', dark: 'Sombre', auto: 'Comme le système', theme: 'Couleurs',
    signOut: 'Se déconnecter', signedIn: (user) => `Connecté : ${user}`, running: (n) => (n === 0 ? 'Rien en cours' : `${n} en cours`),
    waiting: (n) => `${n} en attente d’une personne`, runs: 'En cours', idle: 'Aucune exécution en cours.', allRuns: 'Toutes les exécutions', unknown: 'Inconnu', waits: 'attend votre réponse',
    lost: (since) => `Le contrôleur est injoignable depuis ${since}. L’affichage date de ce moment ; l’état actuel est inconnu.`,
    notFound: 'Cette page n’existe pas', notFoundText: 'L’adresse est peut-être erronée, ou l’objet a disparu.', home: 'Vers la vue d’ensemble', failed: 'Cette page a échoué',
    reload: 'Recharger',
  },
});
