// The code editor of the console: CodeMirror 6 with what workflows are written in.
//
// It lives in a shadow root, where CodeMirror adopts constructed style sheets: the
// console's content security policy allows no inline style.
import {autocompletion, closeBrackets, closeBracketsKeymap, completeAnyWord, completionKeymap} from "@codemirror/autocomplete";
import {defaultKeymap, history, historyKeymap, indentLess, indentMore} from "@codemirror/commands";
import {json} from "@codemirror/lang-json";
import {python} from "@codemirror/lang-python";
import {bracketMatching, HighlightStyle, indentOnInput, indentUnit, syntaxHighlighting} from "@codemirror/language";
import {lintGutter, lintKeymap, setDiagnostics} from "@codemirror/lint";
import {highlightSelectionMatches, searchKeymap} from "@codemirror/search";
import {EditorState} from "@codemirror/state";
import {drawSelection, EditorView, highlightActiveLine, highlightActiveLineGutter, keymap, lineNumbers} from "@codemirror/view";
import {tags} from "@lezer/highlight";

// Colours are the page's: its custom properties reach into the shadow root.
const look = EditorView.theme({
  "&": {backgroundColor: "var(--code-bg)", color: "var(--text)", fontSize: "13px", height: "100%"},
  "&.cm-focused": {outline: "none"},
  ".cm-scroller": {fontFamily: "var(--mono)", lineHeight: "1.55", overflow: "auto"},
  ".cm-content": {caretColor: "var(--accent)", padding: "8px 0"},
  ".cm-cursor": {borderLeftColor: "var(--accent)", borderLeftWidth: "2px"},
  ".cm-gutters": {backgroundColor: "var(--code-bg)", color: "var(--text-soft)", border: "none"},
  ".cm-activeLine, .cm-activeLineGutter": {backgroundColor: "var(--code-line)"},
  ".cm-activeLineGutter": {color: "var(--text)"},
  "&.cm-focused .cm-selectionBackground, .cm-selectionBackground": {backgroundColor: "var(--code-selection) !important"},
  ".cm-selectionMatch": {backgroundColor: "var(--code-selection)"},
  ".cm-tooltip": {backgroundColor: "var(--surface)", color: "var(--text)", border: "1px solid var(--line)", borderRadius: "6px"},
  ".cm-tooltip-autocomplete ul li[aria-selected]": {backgroundColor: "var(--accent)", color: "var(--on-accent)"},
  ".cm-panels": {backgroundColor: "var(--surface)", color: "var(--text)", borderColor: "var(--line)"},
  ".cm-textfield, .cm-button": {backgroundColor: "var(--bg)", backgroundImage: "none", color: "var(--text)", border: "1px solid var(--line)"},
  ".cm-diagnostic-error": {borderLeftColor: "var(--bad)"},
  ".cm-lintRange-error": {backgroundImage: "none", textDecoration: "underline wavy var(--bad)"},
});

const colours = HighlightStyle.define([
  {tag: [tags.keyword, tags.operatorKeyword, tags.controlKeyword, tags.definitionKeyword, tags.moduleKeyword], color: "var(--code-keyword)"},
  {tag: [tags.string, tags.special(tags.string)], color: "var(--code-string)"},
  {tag: [tags.number, tags.bool, tags.null], color: "var(--code-number)"},
  {tag: [tags.comment, tags.docString], color: "var(--code-comment)", fontStyle: "italic"},
  {tag: [tags.function(tags.definition(tags.variableName)), tags.function(tags.variableName), tags.className], color: "var(--code-name)"},
  {tag: tags.propertyName, color: "var(--code-name)"},
]);

// Tab indents as programmers expect; Escape and then Tab leaves the editor by keyboard.
const tab = {key: "Tab", run: indentMore, shift: indentLess};

/// Puts an editor into `place`. `said` has `text`, `language` (`python` or `json`), `label`,
/// `readOnly`, and `changed`, which is called with the new text.
export function open(place, said) {
  const root = place.attachShadow({mode: "open"});
  const box = document.createElement("div");
  box.style.height = "100%";
  root.append(box);
  const state = EditorState.create({
    doc: said.text,
    extensions: [
      lineNumbers(), history(), drawSelection(), indentOnInput(), bracketMatching(), closeBrackets(),
      highlightActiveLine(), highlightActiveLineGutter(), highlightSelectionMatches(), lintGutter(),
      autocompletion({override: said.language === "json" ? [completeAnyWord] : null}),
      indentUnit.of(said.language === "json" ? "  " : "    "),
      said.language === "json" ? json() : python(),
      look, syntaxHighlighting(colours),
      EditorState.readOnly.of(Boolean(said.readOnly)),
      EditorView.contentAttributes.of({"aria-label": said.label, spellcheck: "false"}),
      EditorView.updateListener.of((update) => {
        if (update.docChanged && said.changed) said.changed(update.state.doc.toString());
      }),
      keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...searchKeymap, ...historyKeymap, ...completionKeymap, ...lintKeymap, tab]),
    ],
  });
  const view = new EditorView({state, parent: box, root});
  return {
    focus: () => view.focus(),
    text: () => view.state.doc.toString(),
    replace: (text) => view.dispatch({changes: {from: 0, to: view.state.doc.length, insert: text}}),
    // `findings`: line and column from 1, 0 for none, and a message.
    mark: (findings) => {
      const doc = view.state.doc;
      const marks = findings.filter((one) => one.line >= 1 && one.line <= doc.lines).map((one) => {
        const line = doc.line(one.line);
        const from = Math.min(line.from + Math.max(one.column - 1, 0), line.to);
        return {from: one.column ? from : line.from, to: line.to, severity: "error", message: one.message};
      });
      view.dispatch(setDiagnostics(view.state, marks.sort((a, b) => a.from - b.from)));
      if (marks.length) view.dispatch({effects: EditorView.scrollIntoView(marks[0].from, {y: "center"})});
    },
  };
}
