// The three languages. Each page has one file of messages that holds all of them; the compiler sees to it that they have
// the same keys and take the same values.
import { createContext, type ReactNode, useContext, useEffect, useMemo, useState } from 'react';

export const languages = { en: 'English', ja: '日本語', fr: 'Français' } as const;
export type Language = keyof typeof languages;

type Message = string | ((...args: never[]) => string);
type Same<T> = { [K in keyof T]: T[K] extends (...args: infer A) => string ? (...args: A) => string : string };
type All<T> = { en: T; ja: NoInfer<Same<T>>; fr: NoInfer<Same<T>> };

/** Defines messages: `{ en: { title: 'Groups', found: (n: number) => `${n} found` }, ja: {...}, fr: {...} }`. */
export function messages<T extends Record<string, Message>>(all: All<T>): All<T> {
  return all;
}

const stored = 'understudy.language';

function preferred(): Language {
  const wanted = [localStorage.getItem(stored), ...navigator.languages];
  for (const w of wanted) {
    const base = w?.slice(0, 2).toLowerCase();
    if (base && base in languages) return base as Language;
  }
  return 'en';
}

const Context = createContext<{ language: Language; choose: (l: Language) => void }>({ language: 'en', choose: () => {} });

export function LanguageProvider({ children }: { children: ReactNode }) {
  const [language, setLanguage] = useState(preferred);
  useEffect(() => {
    document.documentElement.lang = language;
  }, [language]);
  const value = useMemo(
    () => ({
      language,
      choose: (l: Language) => {
        localStorage.setItem(stored, l);
        setLanguage(l);
      },
    }),
    [language],
  );
  return <Context.Provider value={value}>{children}</Context.Provider>;
}

export function useLanguage() {
  return useContext(Context);
}

/** The messages in the reader's language. */
export function useMessages<T>(all: All<T>): Same<T> {
  return all[useContext(Context).language] as Same<T>;
}
