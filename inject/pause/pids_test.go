package pause

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

func TestPIDsAsRanges(t *testing.T) {
	for text, want := range map[string]pidList{
		`""`:             nil,
		`"7"`:            {7},
		`"7-8 10 12-14"`: {7, 8, 10, 12, 13, 14},
		`[9,4]`:          {9, 4}, // of versions before
		`"4194304"`:      {mostPIDs},
	} {
		var got pidList
		if err := json.Unmarshal([]byte(text), &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v, want %v", text, []int(got), err, []int(want))
		}
	}
	for _, bad := range []string{`"x"`, `"0-3"`, `"-4"`, `"5-4"`, `"5-"`, `"1-4194305"`, `7`, `["7"]`} {
		var got pidList
		if err := json.Unmarshal([]byte(bad), &got); err == nil {
			t.Errorf("%s is read as %v", bad, []int(got))
		}
	}
	for range 100 {
		var l pidList
		for range rand.IntN(50) {
			l = append(l, 1+rand.IntN(60))
		}
		var back pidList
		b, err := json.Marshal(l)
		if err == nil {
			err = json.Unmarshal(b, &back)
		}
		if want := slices.Compact(slices.Sorted(slices.Values(l))); err != nil || !slices.Equal(back, want) {
			t.Fatalf("%v is written as %s and read as %v: %v", []int(l), b, []int(back), err)
		}
	}
}
