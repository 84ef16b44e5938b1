import { messages } from '../../i18n/i18n';

export const overview = messages({
  en: { title: 'Overview' },
  ja: { title: '概要' },
  fr: { title: 'Vue d’ensemble' },
});
