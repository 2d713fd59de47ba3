package ledger

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
)

// TokenHeader carries the fencing token of a write.
const TokenHeader = "X-Fencing-Token"

// maxBody bounds a request body, in bytes.
const maxBody = 1 << 20

// ServeHTTP answers
//
//	POST /entries/{row}   body {"value":"…","op_id":"…"}, token in TokenHeader
//	                      200 {"seq":n} · 409 stale token · 400 missing or malformed token or body
//	GET  /entries/{row}   200 {"value":"…","token":"…","seq":n} · 404 never written
//	GET  /healthz         200
//
// with {"error":"…"} as the body of a refusal. A row may contain "/". 500 means
// that the write may have happened.
func (l *Ledger) ServeHTTP(w http.ResponseWriter, r *http.Request) { l.mux.ServeHTTP(w, r) }

func (l *Ledger) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /entries/{row...}", l.post)
	mux.HandleFunc("GET /entries/{row...}", l.get)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, struct{}{})
	})
	return mux
}

func (l *Ledger) post(w http.ResponseWriter, r *http.Request) {
	row := r.PathValue("row")
	if row == "" {
		refuse(w, http.StatusBadRequest, "missing row")
		return
	}
	tokens := r.Header.Values(TokenHeader)
	if len(tokens) > 1 {
		refuse(w, http.StatusBadRequest, "more than one "+TokenHeader)
		return
	}
	var body struct {
		Value string `json:"value"`
		OpID  string `json:"op_id"`
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	if err := decoder.Decode(&body); err != nil {
		refuse(w, http.StatusBadRequest, "decode body: "+err.Error())
		return
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		refuse(w, http.StatusBadRequest, "decode body: more than one value")
		return
	}
	seq, err := l.Write(row, r.Header.Get(TokenHeader), body.Value, body.OpID)
	switch {
	case errors.Is(err, ErrStale):
		refuse(w, http.StatusConflict, err.Error())
	case errors.Is(err, ErrToken):
		refuse(w, http.StatusBadRequest, err.Error())
	case err != nil:
		refuse(w, http.StatusInternalServerError, err.Error())
	default:
		answer(w, http.StatusOK, map[string]uint64{"seq": seq})
	}
}

func (l *Ledger) get(w http.ResponseWriter, r *http.Request) {
	entry, ok := l.Read(r.PathValue("row"))
	if !ok {
		refuse(w, http.StatusNotFound, "row was never written")
		return
	}
	answer(w, http.StatusOK, entry)
}

func refuse(w http.ResponseWriter, status int, why string) {
	answer(w, status, map[string]string{"error": why})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The client is gone if this fails, and there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(body)
}
