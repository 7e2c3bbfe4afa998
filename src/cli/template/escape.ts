/** html, js and urlquery: the escapes of text/template. */

const HTML: Record<string, string> = {
  '"': "&#34;",
  "'": "&#39;",
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  "\0": "\uFFFD",
};

export function escapeHtml(text: string): string {
  return text.replace(/["'&<>\0]/g, (c) => HTML[c] as string);
}

const JS: Record<string, string> = {
  "\\": "\\\\",
  "'": "\\'",
  '"': '\\"',
  "<": "\\u003C",
  ">": "\\u003E",
  "&": "\\u0026",
  "=": "\\u003D",
};

export function escapeJs(text: string): string {
  return text.replace(/[\\'"<>&=]|\p{Cc}|\p{Cf}|[\u2028\u2029]/gu, (c) => {
    return JS[c] ?? `\\u${(c.codePointAt(0) as number).toString(16).toUpperCase().padStart(4, "0")}`;
  });
}

export function escapeQuery(text: string): string {
  return encodeURIComponent(text)
    .replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll("%20", "+");
}
