// Numbers, sizes and times as the reader's language writes them, in the reader's time zone.
import { type Language, useLanguage } from '../i18n/i18n';

const sizes: Record<Language, string[]> = {
  en: ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'],
  ja: ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'],
  fr: ['o', 'Kio', 'Mio', 'Gio', 'Tio', 'Pio'],
};
const units: Record<Language, { d: string; h: string; min: string; s: string; ms: string }> = {
  en: { d: 'd', h: 'h', min: 'min', s: 's', ms: 'ms' },
  ja: { d: '日', h: '時間', min: '分', s: '秒', ms: 'ミリ秒' },
  fr: { d: 'j', h: 'h', min: 'min', s: 's', ms: 'ms' },
};
const gap = '\u00a0';

export type Format = ReturnType<typeof formatter>;

/** The reader's own variety of a language, for the clock that they are used to; else the language. */
export function variety(language: Language): string {
  return navigator.languages.find((l) => l.toLowerCase().startsWith(language)) ?? language;
}

export function formatter(language: Language) {
  const locale = variety(language);
  const number = new Intl.NumberFormat(locale, { maximumFractionDigits: 1 });
  const percent = new Intl.NumberFormat(locale, { style: 'percent', maximumFractionDigits: 1 });
  const dateTime = new Intl.DateTimeFormat(locale, { dateStyle: 'medium', timeStyle: 'medium' });
  const time = new Intl.DateTimeFormat(locale, { timeStyle: 'medium' });
  const clock = new Intl.DateTimeFormat(locale, { timeStyle: 'short' });
  const date = new Intl.DateTimeFormat(locale, { dateStyle: 'medium' });
  const relative = new Intl.RelativeTimeFormat(locale, { numeric: 'auto' });
  const u = units[language];
  const bytes = (n: number) => {
    let i = 0;
    for (; Math.abs(n) >= 1024 && i < 5; i++) n /= 1024;
    return number.format(i > 0 && Math.abs(n) >= 100 ? Math.round(n) : n) + gap + sizes[language][i];
  };
  return {
    number: (n: number) => number.format(n),
    percent: (ratio: number) => percent.format(ratio),
    bytes,
    rate: (bytesPerSecond: number) => `${bytes(bytesPerSecond)}/${u.s}`,
    /** Two units at most: 3 d 4 h, 2 min 5 s, 4.2 s. */
    duration: (seconds: number) => {
      const sign = seconds < 0 ? '−' : '';
      let s = Math.abs(seconds);
      if (s > 0 && s < 0.95) return `${sign}${Math.max(1, Math.round(s * 1000))}${gap}${u.ms}`;
      if (s < 10) return sign + number.format(s) + gap + u.s;
      s = Math.round(s);
      const parts: [number, string][] = [
        [Math.floor(s / 86400), u.d],
        [Math.floor((s % 86400) / 3600), u.h],
        [Math.floor((s % 3600) / 60), u.min],
        [s % 60, u.s],
      ];
      const first = parts.findIndex(([n]) => n > 0);
      return (
        sign +
        parts
          .slice(first, first + 2)
          .filter(([n]) => n > 0)
          .map(([n, unit]) => `${n}${gap}${unit}`)
          .join(gap)
      );
    },
    /** "3 days ago", "in 2 hours". */
    ago: (at: Date | string | number, now = Date.now()) => {
      const s = (new Date(at).getTime() - now) / 1000;
      const a = Math.abs(s);
      if (a < 60) return relative.format(Math.round(s), 'second');
      if (a < 3600) return relative.format(Math.round(s / 60), 'minute');
      if (a < 86400) return relative.format(Math.round(s / 3600), 'hour');
      if (a < 60 * 86400) return relative.format(Math.round(s / 86400), 'day');
      return relative.format(Math.round(s / 86400 / 30.44), 'month');
    },
    dateTime: (at: Date | string | number) => dateTime.format(new Date(at)),
    /** The time alone when it is of today, else with the date. */
    short: (at: Date | string | number) => {
      const t = new Date(at);
      return t.toDateString() === new Date().toDateString() ? time.format(t) : dateTime.format(t);
    },
    /** Hours and minutes. */
    clock: (at: Date | string | number) => clock.format(new Date(at)),
    time: (at: Date | string | number) => time.format(new Date(at)),
    date: (at: Date | string | number) => date.format(new Date(at)),
  };
}

/** Made once for a language: the browser's formatters take a millisecond to make, and each row of a long list asks for them. */
const made = new Map<Language, Format>();

export function useFormat(): Format {
  const { language } = useLanguage();
  let format = made.get(language);
  if (!format) made.set(language, (format = formatter(language)));
  return format;
}

/** An instant in UTC, for hovering over. */
export function utc(at: Date | string | number): string {
  return new Date(at).toISOString().replace('T', ' ').replace(/\.\d+Z$/, ' UTC');
}
