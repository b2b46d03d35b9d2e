"""The review page: a person looks at a loop and what the model drew, and accepts or corrects it.

| file | holds |
|---|---|
| `server.py` | the process: gunicorn, one worker, threads |
| `app.py` | the application: routes together, headers, problems as sentences |
| `auth.py` | who reviews |
| `live.py` | the worklist and its polling |
| `loops.py` | one loop: its page, state, frames, contours, thumbnail |
| `review.py` | accept, correct, reject |
| `correcting.py` | drawn contours → label maps and measures |
| `pictures.py` | packs of frames, packs of contours, thumbnails |
| `warming.py` | traces a sealed analysis before somebody opens it |
| `words.py` | what the page says about a loop |
"""
