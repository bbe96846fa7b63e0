/** What we use of js-yaml 4, which comes without types. */
declare module 'js-yaml' {
  /** Opaque: which types a document may have. */
  export const CORE_SCHEMA: unique symbol;
  /** Throws YAMLException. */
  export function load(text: string, options: { readonly schema: typeof CORE_SCHEMA; readonly filename: string }): unknown;
}
