"""The review page: a person looks at a loop and what the model drew, and accepts or corrects it.

| file | holds |
|---|---|
| `server.py` | the process: gunicorn, one worker, threads |
| `app.py` | the application: routes together, headers, problems as sentences |
| `wire.py` | how answers leave: files first, texts packed |
| `compact.py` | the page's files without comments, as they are sent |
| `auth.py` | who is there: signing in, locking, handing over |
| `access.py` | which role opens which route |
| `first.py` | the first start: a code makes the first admin |
| `people.py` | users on the page, the own PIN, how the box is |
| `cookies.py`, `nameless.py` | what a browser keeps: a signed cookie, no name |
| `live.py` | the worklist: its page, its parts, its event stream |
| `listing.py`, `cards.py` | the studies in order, and what is shown of each |
| `attention.py` | which loops need eyes, and why |
| `streams.py` | one thread watches the ledger for every open page |
| `importing.py` | files from the page, handed to reception |
| `openapi.py` | the interface's description, from what each route says of itself |
| `dicomweb*.py` | the box as a read-only DICOMweb server |
| `loops.py` | one loop: its page, frames, contours |
| `thumbnails.py` | its small picture, kept once drawn |
| `describing.py` | one loop as the viewer needs it |
| `review.py` | accept, correct, reject |
| `asking.py` | not sure: to an expert; whose study it is |
| `drafting.py` | what is drawn and not saved yet |
| `correcting.py` | drawn contours → label maps and measures |
| `pictures.py` | packs of frames, packs of contours, thumbnails |
| `warming.py` | traces a sealed analysis before somebody opens it |
| `words.py` | what the page says about a loop |
"""
