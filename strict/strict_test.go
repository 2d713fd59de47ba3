package strict

import (
	"encoding/json"
	"errors"
	"testing"
)

func TestDecodeRefusesWhatIsNotAllUnderstood(t *testing.T) {
	for text, ok := range map[string]bool{
		`{"for": 1}`: true, ` {"for": 1} `: true, `{}`: true,
		`{"four": 1}`: false, `{"for": 1}{"for": 2}`: false, `{"for": 1} x`: false, `{"for": "1"}`: false, ``: false, `[`: false,
	} {
		var v struct {
			For int `json:"for"`
		}
		if err := Decode([]byte(text), &v); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestOptionsAreRefusedInTheCallersWords(t *testing.T) {
	refused := errors.New("refused")
	o := struct {
		Fence bool `json:"fence"`
	}{true}
	for _, none := range []string{"", " ", "{}"} {
		if err := Options(json.RawMessage(none), &o, refused); err != nil || !o.Fence {
			t.Errorf("%q: %v, %+v", none, err, o)
		}
	}
	if err := Options(json.RawMessage(`{"fences": true}`), &o, refused); !errors.Is(err, refused) {
		t.Errorf("a misspelt option: %v", err)
	}
}
