import { messages } from '../i18n/i18n';

/** Words that every page uses. */
export const words = messages({
  en: {
    cancel: 'Cancel', close: 'Close', copy: 'Copy', copied: 'Copied', never: 'never', none: 'none', unknown: 'unknown', retry: 'Try again',
    cli: 'The same as a command', hint: 'What helps', notAllowed: (verb: string, where: string) => `Your role does not allow this${where && ` on ${where}`} (${verb})`,
    type: (text: string) => `Type ${text} to confirm`, loading: 'Loading', deeds: 'Actions', more: 'Details',
    unreachable: 'The controller cannot be reached', approvals: 'See what waits for approval', utc: 'UTC',
  },
  ja: {
    cancel: 'キャンセル', close: '閉じる', copy: 'コピー', copied: 'コピーしました', never: 'なし', none: 'なし', unknown: '不明', retry: '再試行',
    cli: '同じ操作のコマンド', hint: '対処', notAllowed: (verb, where) => `${where && `${where} に対する`}この操作の権限がありません (${verb})`,
    type: (text) => `確認のため ${text} と入力してください`, loading: '読み込み中', deeds: '操作', more: '詳細',
    unreachable: 'コントローラーに接続できません', approvals: '承認待ちを見る', utc: 'UTC',
  },
  fr: {
    cancel: 'Annuler', close: 'Fermer', copy: 'Copier', copied: 'Copié', never: 'jamais', none: 'aucun', unknown: 'inconnu', retry: 'Réessayer',
    cli: 'La même chose en commande', hint: 'Ce qui aide', notAllowed: (verb, where) => `Votre rôle ne le permet pas${where && ` pour ${where}`} (${verb})`,
    type: (text) => `Saisissez ${text} pour confirmer`, loading: 'Chargement', deeds: 'Actions', more: 'Détails',
    unreachable: 'Le contrôleur est injoignable', approvals: 'Voir ce qui attend une approbation', utc: 'UTC',
  },
});
