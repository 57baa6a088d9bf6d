// The texts of the page. A further language is a further object with the same names.
const texts = {
  en: {
    skip: "Skip to content", navigation: "Main", listen: "Listen", library: "Library", laboratory: "Laboratory",
    listenTitle: "What does it sound like?",
    listenLead: "Drop a song and see its genres, how they change over time, and what in your library sounds alike.",
    dropHere: "Drop music here", choose: "Choose files", record: "Record", stop: "Stop",
    private: "Files stay on this machine. They are deleted once they are classified.",
    privateAt: (host) => `Files are sent to the service at ${host}. It deletes them once they are classified.`,
    uploading: "Uploading", waitingFor: (n) => `Waiting: ${n} before it`, reading: "Classifying", soFar: "Classifying. If it is music, so far:", either: (a, b) => `${a} or ${b}`,
    certain: (p) => `${p} certain`, noGenre: "No genre", timeline: "Genres over time", sounds: "Sounds alike in your library",
    onMap: "Its place on the map", noneAlike: "No other track to compare with.", play: "Play", pause: "Pause", position: "Position",
    seekHelp: "Click to jump there", microphoneDenied: "The microphone can't be used.", microphone: "Recording",
    done: (name, genre) => `${name}: ${genre}`, failed: (name, why) => `${name}: ${why}`, cannotPlay: "This browser can't play the file.", atAddress: (n) => `${n}: the file is at an address, not on this machine`,
    lost: "The service does not answer.", tooLarge: "The file is larger than the service accepts.", busy: "The service is busy. Trying again …",
    noLibrary: "There is no library yet. “genrescope scan FOLDER” makes one; then start the service again.",
    mapLabel: "Map of the library. Arrow keys go from track to track, Enter plays, plus and minus zoom.", genres: "Genres", search: "Search",
    genre: "Genre", show: "Show", all: "all", unsure: "uncertain", corrected: "corrected", sortBy: "Sort by", descending: "Descending",
    name: "Name", artist: "Artist", album: "Album", title: "Title", year: "Year", confidence: "Certainty", duration: "Length",
    correctTo: "Correct genre to …", apply: "Apply", addToPlaylist: "Add to playlist", between: "From here to there", tracks: "Tracks",
    previous: "Previous", next: "Next", pageOf: (a, b, n) => `${a}–${b} of ${n}`, count: (n) => (n === 1 ? "1 track" : `${n} tracks`), selected: (n) => `${n} selected`,
    moreLike: "More like what you like", recommend: "Recommend", recommendHint: "Like a few tracks in the table first, with the heart.",
    playlist: "Playlist", export: "Export M3U8", clear: "Clear", playlistHint: "Drag tracks here, or add them with +. Or select two tracks in the table and let a path lead from here to there.",
    like: "Like", dislike: "Dislike", add: "Add to playlist", remove: "Remove", up: "Move up", down: "Move down", select: "Select",
    similar: "Sounds alike", asModel: "as the model said", modelSaid: (g) => `model: ${g}`, genreOf: (n) => `Genre of ${n}`,
    runs: "Runs", comparison: "Compared with the papers", noRuns: "No finished runs yet: “genrescope train my-genres --data FOLDER” makes one, and “serve --runs” names the folder where runs are.", noComparison: "No run can be compared with a published figure.",
    run: "Run", accuracy: "Accuracy", macroF1: "Macro F1", interval: "95 % interval", report: "Report", leaked: "LEAKED", n: "Tracks",
    paper: "Paper", metric: "Metric", published: "Published", ours: "Ours", difference: "Difference",
    keyTitle: "API key", keyText: "This service asks for its API key.", unlock: "Unlock", cancel: "Cancel", keyWrong: "That is not the key.", keyMissing: "This service can't be used without its API key.", tryAgain: "Try again", all_genres: "all",
    loading: "Loading …", scanning: "A scan writes to the library. Try again when it is done.", mapDrawing: "The map is being drawn …", mapEmpty: "The map could not be drawn.", today: "this track",
    map: "Map", queued: "Waiting for its turn", removeResult: (n) => `Remove ${n} from this page`, timeOf: (a, b) => `${a} of ${b}`, volume: "Volume",
    previousTrack: "Previous track", nextTrack: "Next track", zoom: "Zoom of the map", closer: "Zoom in", wider: "Zoom out", whole: "Show all",
    forSelected: "For the selected tracks", selectAll: (n) => `Select all ${n}`, selectNone: "Select none", correctedCount: (n) => `Genre of ${n} corrected.`,
    betweenHelp: "Fills the playlist with a path from the first selected track to the second", noMatch: "No track matches.", noTracks: "The library has no track yet.",
    unlike: (n) => `Take back: ${n}`, likeMore: (n) => `Because of ${n} liked`, gone: "Tracks that are no longer in the library were taken out.",
    added: (n) => `Added to the playlist: ${n}.`, playlistFull: (n) => `A playlist has at most ${n} tracks.`, notAdded: (n, most) => `Not added: ${n}. A playlist has at most ${most}.`,
  },
  de: {
    skip: "Zum Inhalt", navigation: "Hauptmenü", listen: "Anhören", library: "Sammlung", laboratory: "Labor",
    listenTitle: "Wonach klingt es?",
    listenLead: "Lege ein Stück ab und sieh seine Genres, wie sie sich im Verlauf ändern und was in deiner Sammlung ähnlich klingt.",
    dropHere: "Musik hier ablegen", choose: "Dateien wählen", record: "Aufnehmen", stop: "Beenden",
    private: "Die Dateien bleiben auf diesem Rechner. Sie werden gelöscht, sobald sie bestimmt sind.",
    privateAt: (host) => `Die Dateien werden an den Dienst auf ${host} gesendet. Er löscht sie, sobald sie bestimmt sind.`,
    uploading: "Wird hochgeladen", waitingFor: (n) => `Wartet: ${n} davor`, reading: "Wird bestimmt", soFar: "Wird bestimmt. Bisher, falls es Musik ist:", either: (a, b) => `${a} oder ${b}`,
    certain: (p) => `${p} sicher`, noGenre: "Kein Genre", timeline: "Genres im Verlauf", sounds: "Ähnliches in deiner Sammlung",
    onMap: "Sein Ort auf der Karte", noneAlike: "Kein anderes Stück zum Vergleichen.", play: "Abspielen", pause: "Pause", position: "Stelle",
    seekHelp: "Klicken springt dorthin", microphoneDenied: "Das Mikrofon kann nicht benutzt werden.", microphone: "Aufnahme",
    done: (name, genre) => `${name}: ${genre}`, failed: (name, why) => `${name}: ${why}`, cannotPlay: "Dieser Browser kann die Datei nicht abspielen.", atAddress: (n) => `${n}: die Datei liegt an einer Adresse, nicht auf diesem Rechner`,
    lost: "Der Dienst antwortet nicht.", tooLarge: "Die Datei ist größer, als der Dienst annimmt.", busy: "Der Dienst ist ausgelastet. Neuer Versuch …",
    noLibrary: "Es gibt noch keine Sammlung. „genrescope scan ORDNER“ legt eine an; danach den Dienst neu starten.",
    mapLabel: "Karte der Sammlung. Pfeiltasten gehen von Stück zu Stück, Eingabe spielt ab, Plus und Minus vergrößern und verkleinern.", genres: "Genres", search: "Suchen",
    genre: "Genre", show: "Zeigen", all: "alle", unsure: "unsichere", corrected: "berichtigte", sortBy: "Sortieren", descending: "Absteigend",
    name: "Name", artist: "Interpret", album: "Album", title: "Titel", year: "Jahr", confidence: "Sicherheit", duration: "Länge",
    correctTo: "Genre berichtigen zu …", apply: "Anwenden", addToPlaylist: "Zur Wiedergabeliste", between: "Von hier nach dort", tracks: "Stücke",
    previous: "Zurück", next: "Weiter", pageOf: (a, b, n) => `${a}–${b} von ${n}`, count: (n) => (n === 1 ? "1 Stück" : `${n} Stücke`), selected: (n) => `${n} ausgewählt`,
    moreLike: "Mehr von dem, was dir gefällt", recommend: "Empfehlen", recommendHint: "Kennzeichne zuerst mit dem Herz in der Tabelle, was dir gefällt.",
    playlist: "Wiedergabeliste", export: "M3U8 speichern", clear: "Leeren", playlistHint: "Ziehe Stücke hierher oder füge sie mit + hinzu. Oder wähle in der Tabelle zwei aus und lass einen Weg von hier nach dort führen.",
    like: "Gefällt mir", dislike: "Gefällt mir nicht", add: "Zur Wiedergabeliste", remove: "Entfernen", up: "Nach oben", down: "Nach unten", select: "Auswählen",
    similar: "Ähnliches", asModel: "wie vom Modell", modelSaid: (g) => `Modell: ${g}`, genreOf: (n) => `Genre von ${n}`,
    runs: "Läufe", comparison: "Verglichen mit den Veröffentlichungen", noRuns: "Noch keine fertigen Läufe: „genrescope train my-genres --data ORDNER“ macht einen, und „serve --runs“ nennt den Ordner, in dem Läufe liegen.", noComparison: "Kein Lauf lässt sich mit einer veröffentlichten Zahl vergleichen.",
    run: "Lauf", accuracy: "Genauigkeit", macroF1: "Makro-F1", interval: "95-%-Intervall", report: "Bericht", leaked: "LECK", n: "Stücke",
    paper: "Veröffentlichung", metric: "Maß", published: "Veröffentlicht", ours: "Unsere", difference: "Abstand",
    keyTitle: "API-Schlüssel", keyText: "Dieser Dienst fragt nach seinem API-Schlüssel.", unlock: "Öffnen", cancel: "Abbrechen", keyWrong: "Das ist nicht der Schlüssel.", keyMissing: "Ohne seinen API-Schlüssel lässt sich dieser Dienst nicht benutzen.", tryAgain: "Noch einmal versuchen", all_genres: "alle",
    loading: "Wird geladen …", scanning: "Die Sammlung wird gerade eingelesen. Versuche es danach noch einmal.", mapDrawing: "Die Karte wird gezeichnet …", mapEmpty: "Die Karte konnte nicht gezeichnet werden.", today: "dieses Stück",
    map: "Karte", queued: "Wartet, bis es an der Reihe ist", removeResult: (n) => `${n} von dieser Seite entfernen`, timeOf: (a, b) => `${a} von ${b}`, volume: "Lautstärke",
    previousTrack: "Voriges Stück", nextTrack: "Nächstes Stück", zoom: "Vergrößerung der Karte", closer: "Vergrößern", wider: "Verkleinern", whole: "Alles zeigen",
    forSelected: "Für die ausgewählten Stücke", selectAll: (n) => `Alle ${n} auswählen`, selectNone: "Auswahl aufheben", correctedCount: (n) => `Genre von ${n} berichtigt.`,
    betweenHelp: "Füllt die Wiedergabeliste mit einem Weg vom ersten ausgewählten Stück zum zweiten", noMatch: "Kein Stück passt dazu.", noTracks: "Die Sammlung hat noch kein Stück.",
    unlike: (n) => `Zurücknehmen: ${n}`, likeMore: (n) => `Weil ${n} gefallen`, gone: "Stücke, die nicht mehr in der Sammlung sind, wurden entfernt.",
    added: (n) => `Zur Wiedergabeliste hinzugefügt: ${n}.`, playlistFull: (n) => `Eine Wiedergabeliste hat höchstens ${n} Stücke.`, notAdded: (n, most) => `Nicht hinzugefügt: ${n}. Eine Wiedergabeliste hat höchstens ${most}.`,
  },
};

const kinds = {de: {
  speech: "Sprache", silence: "Stille", noise: "Rauschen", tone: "Ton", hum: "Brummen", clicks: "Knacken", animals: "Tiere",
  nature: "Natur", machines: "Maschinen", people: "Menschen",
}};
// What the service says of files and requests, in further languages: its text as a pattern, and the
// translation. Whatever no pattern fits is shown as the service wrote it.
const details = {
  de: [
    [/^longer than (\S+) (minutes|s)$/, (_, n, unit) => `länger als ${n} ${unit === "s" ? "s" : "Minuten"}`],
    [/^larger than (\S+) MB$/, (_, n) => `größer als ${n} MB`],
    [/^takes longer than (\S+) s$/, (_, n) => `dauert länger als ${n} s`],
    [/^it takes too much memory$/, () => "braucht zu viel Speicher"],
    [/^empty \(0 bytes\)$/, () => "leer (0 Bytes)"],
    [/^no sound in it: only video$/, () => "kein Ton darin, nur Bild"],
    [/^no sound in it: every sample is .*$/, () => "kein Ton darin: überall digitale Stille"],
    [/^no sound in it$/, () => "kein Ton darin"],
    [/^no (?:samples in it|audio in it that can be read)$/, () => "kein lesbarer Ton darin"],
    [/^not audio, or of a kind that is not known$/, () => "keine Musikdatei oder von unbekannter Art"],
    [/^too short to classify: (\S+) s, at least (\S+) s needed$/, (_, n, least) => `zu kurz: ${n} s, nötig ist mindestens ${least} s`],
    [/^(?:truncated: )?it ends before the sound begins$/, () => "abgeschnitten: endet, bevor der Ton beginnt"],
    [/^truncated: its index is missing$/, () => "abgeschnitten: das Verzeichnis fehlt"],
    [/^damaged or truncated: it begins like (\S+), but can't be decoded$/, (_, kind) => `beschädigt oder abgeschnitten: beginnt wie ${kind}, lässt sich aber nicht entschlüsseln`],
    [/^damaged or cut short: (\S+) s of (\S+) s could not be decoded$/, (_, lost, all) => `beschädigt oder abgeschnitten: ${lost} s von ${all} s ließen sich nicht entschlüsseln`],
    [/^damaged: some pieces could not be decoded and were left out$/, () => "beschädigt: einige Stellen wurden ausgelassen"],
    [/^damaged: a sample rate of (.*)$/, (_, rate) => `beschädigt: eine Abtastrate von ${rate}`],
    [/^the last part could not be decoded$/, () => "das Ende ließ sich nicht entschlüsseln"],
    [/^cut short: it should be (\S+) s long, but ends at (\S+) s$/, (_, all, end) => `abgeschnitten: sollte ${all} s lang sein, endet bei ${end} s`],
    [/^the channels have opposite phase .*: (\S+) s were mixed .*$/, (_, n) => `die Kanäle sind gegenphasig und löschen einander aus: ${n} s wurden ohne Verlust gemischt`],
    [/^silence, and (?:no second of sound in one piece|less than a second of (?:audible )?sound): .*$/, () => "Stille und keine Sekunde Ton: kein Genre zu erkennen"],
    [/^(?:(\w+), )?no music: cannot tell a genre$/, (_, kind) => `${kind ? `${kinds.de[kind] ?? kind}, ` : ""}keine Musik: kein Genre zu erkennen`],
    [/^not readable: (.*)$/, (_, why) => `nicht lesbar: ${why}`],
    [/^the file of this track is gone$/, () => "die Datei dieses Stücks ist nicht mehr da"],
    [/^the file of this track is at an address, not on this machine$/, () => "die Datei dieses Stücks liegt an einer Adresse, nicht auf diesem Rechner"],
    [/^the file of this track is not audio$/, () => "die Datei dieses Stücks ist keine Musikdatei"],
    [/^an error of the service, which is in its log$/, () => "ein Fehler des Dienstes, der in seinem Protokoll steht"],
    [/^the library can't be read or written; see the service's log$/, () => "die Sammlung lässt sich nicht lesen oder schreiben; siehe das Protokoll des Dienstes"],
    [/^no such track$/, () => "dieses Stück gibt es nicht"],
    [/^(.*) can't be compared: it has no genre$/, (_, name) => `${name} kann nicht verglichen werden: es hat kein Genre`],
    [/^the library has no track yet that has a genre$/, () => "in der Sammlung hat noch kein Stück ein Genre"],
    [/^(.*): no genre of the library's model; it knows (.*)$/, (_, name, known) => `${name}: kein Genre des Modells der Sammlung; es kennt ${known}`],
    [/^the upload paused for too long, or was too slow$/, () => "das Hochladen stockte zu lange oder war zu langsam"],
    [/^no room left for uploads on the disk of the service$/, () => "auf der Festplatte des Dienstes ist kein Platz mehr"],
    [/^too many connections: try again later$/, () => "zu viele Verbindungen: versuche es später noch einmal"],
    [/^the service is (stopping|not started)$/, (_, what) => (what === "stopping" ? "der Dienst wird beendet" : "der Dienst läuft noch nicht")],
    [/^the model is being loaded$/, () => "das Modell wird geladen"],
    [/^too many requests: try again later$/, () => "zu viele Anfragen: versuche es später noch einmal"],
    [/^a scan writes to the library: .*$/, () => "die Sammlung wird gerade eingelesen: versuche es danach noch einmal"],
    [/^the map is being drawn: .*$/, () => "die Karte wird gezeichnet: versuche es später noch einmal"],
  ],
};

// "de" and "de-AT", but not "den", which is another language.
export const language = navigator.languages.map((each) => each.toLowerCase().split("-")[0]).find((each) => Object.hasOwn(texts, each)) ?? "en";

export function t(name, ...values) {
  const text = texts[language][name] ?? texts.en[name] ?? name;
  return typeof text === "function" ? text(...values) : text;
}

export function translated(detail) {
  const [pattern, text] = details[language]?.find(([each]) => each.test(detail)) ?? [];
  return pattern ? text(...detail.match(pattern)) : detail;
}

export function translate(root) {
  document.documentElement.lang = language;
  for (const [attribute, set] of [["t", (e, s) => { e.textContent = s; }], ["t-label", (e, s) => e.setAttribute("aria-label", s)],
    ["t-title", (e, s) => { e.title = s; }], ["t-placeholder", (e, s) => { e.placeholder = s; }]]) {
    for (const element of root.querySelectorAll(`[data-${attribute}]`)) set(element, t(element.getAttribute(`data-${attribute}`)));
  }
}

// The genre in words: the service says "a or b" where either of the two most probable ones may be right.
export function answered({genre, answer, probabilities}) {
  const [first, second] = Object.keys(probabilities);
  return answer && answer === `${first} or ${second}` ? t("either", first, second) : genre;
}

const whole = new Intl.NumberFormat(language, {style: "percent", maximumFractionDigits: 0});
const tenths = new Intl.NumberFormat(language, {minimumFractionDigits: 1, maximumFractionDigits: 1});
export const decimal = (value) => tenths.format(value);
// Rounded down, as the command line does it: what is below a threshold never looks as if it had reached it.
export const percent = (value) => whole.format(Math.floor(100 * value + 1e-9) / 100);
export const clock = (seconds) => {
  const s = Math.max(0, Math.round(seconds)), rest = String(s % 60).padStart(2, "0"), minutes = Math.floor(s / 60);
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
};
