// What a network sees of a picture: one kernel from the camera's memory to the network's input, and
// one that tells how sharp a chip is.
//
// `sample` serves the letterbox and the face chips alike: both are an affine map from the input to
// the picture. Where the picture is much larger than the input, a point is the mean of a block of
// 2^halvings pixels a side, in a grid that begins at (left, top): what the host's path gets by
// halving a region again and again. The reference in numpy is hil/gpu/reference.py.

#define BGR8 0
#define RGB8 1
#define NV12 2

struct Colour {
    float red, green, blue;
};

static __device__ int clamped(int value, int most)
{
    return value < 0 ? 0 : value > most ? most : value;
}

static __device__ float within(float value)
{
    return value < 0.0f ? 0.0f : value > 255.0f ? 255.0f : value;
}

// 0 … 255. NV12 is BT.601 with luma 16 … 235, as the cameras of a Jetson give it.
static __device__ struct Colour pixel(const unsigned char *picture, int layout, int width,
                                      int height, int x, int y)
{
    struct Colour colour;
    if (layout == NV12) {
        const unsigned char *chroma = picture + (size_t)width * height;
        size_t pair = (size_t)(y / 2) * width + (x & ~1);
        float luma = 1.164383f * ((float)picture[(size_t)y * width + x] - 16.0f);
        float u = (float)chroma[pair] - 128.0f, v = (float)chroma[pair + 1] - 128.0f;
        colour.red = within(luma + 1.596027f * v);
        colour.green = within(luma - 0.391762f * u - 0.812968f * v);
        colour.blue = within(luma + 2.017232f * u);
        return colour;
    }
    const unsigned char *at = picture + 3 * ((size_t)y * width + x);
    colour.red = layout == RGB8 ? at[0] : at[2];
    colour.green = at[1];
    colour.blue = layout == RGB8 ? at[2] : at[0];
    return colour;
}

// Mean of the block that is pixel (x, y) of the halved region.
static __device__ struct Colour block(const unsigned char *picture, int layout, int width,
                                      int height, int left, int top, int halvings, int x, int y)
{
    int side = 1 << halvings;
    struct Colour sum = {0.0f, 0.0f, 0.0f};
    for (int row = 0; row < side; row++)
        for (int column = 0; column < side; column++) {
            struct Colour one = pixel(picture, layout, width, height, left + x * side + column,
                                      top + y * side + row);
            sum.red += one.red;
            sum.green += one.green;
            sum.blue += one.blue;
        }
    float share = 1.0f / (float)(side * side);
    sum.red *= share;
    sum.green *= share;
    sum.blue *= share;
    return sum;
}

// Point (x, y) of the input is (xx·x + xy·y + x0, yx·x + yy·y + y0) of the halved region, which is
// columns × rows; beyond its edge the edge goes on. `input` is f32, planes of red, green and blue,
// `plane` values apart, rows of `pitch` values; wide × high of it are written.
extern "C" __global__ void sample(const unsigned char *picture, int layout, int width, int height,
                                  int left, int top, int columns, int rows, int halvings, float xx,
                                  float xy, float x0, float yx, float yy, float y0, int mirrored,
                                  float *input, int plane, int pitch, int wide, int high)
{
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= wide || y >= high)
        return;
    float from_x = xx * x + xy * y + x0, from_y = yx * x + yy * y + y0;
    float floor_x = floorf(from_x), floor_y = floorf(from_y);
    float part_x = from_x - floor_x, part_y = from_y - floor_y;
    int x1 = clamped((int)floor_x, columns - 1), x2 = clamped((int)floor_x + 1, columns - 1);
    int y1 = clamped((int)floor_y, rows - 1), y2 = clamped((int)floor_y + 1, rows - 1);
    struct Colour a = block(picture, layout, width, height, left, top, halvings, x1, y1);
    struct Colour b = block(picture, layout, width, height, left, top, halvings, x2, y1);
    struct Colour c = block(picture, layout, width, height, left, top, halvings, x1, y2);
    struct Colour d = block(picture, layout, width, height, left, top, halvings, x2, y2);
    float wa = (1.0f - part_x) * (1.0f - part_y), wb = part_x * (1.0f - part_y);
    float wc = (1.0f - part_x) * part_y, wd = part_x * part_y;
    float *to = input + (size_t)y * pitch + (mirrored ? wide - 1 - x : x);
    to[0] = wa * a.red + wb * b.red + wc * c.red + wd * d.red;
    to[plane] = wa * a.green + wb * b.green + wc * c.green + wd * d.green;
    to[2 * (size_t)plane] = wa * a.blue + wb * b.blue + wc * c.blue + wd * d.blue;
}

// Of a square plane: for each row the sums of its values, their squares, its Laplacian's values and
// their squares. `sums` is f32 (side, 4). The border is mirrored without its edge, like OpenCV's.
extern "C" __global__ void contrast(const float *plane, int side, float *sums)
{
    int y = blockIdx.x * blockDim.x + threadIdx.x;
    if (y >= side)
        return;
    const float *row = plane + (size_t)y * side;
    const float *above = y > 0 ? row - side : row + side;
    const float *below = y < side - 1 ? row + side : row - side;
    float values = 0.0f, squares = 0.0f, details = 0.0f, detail_squares = 0.0f;
    for (int x = 0; x < side; x++) {
        float before = x > 0 ? row[x - 1] : row[1];
        float after = x < side - 1 ? row[x + 1] : row[side - 2];
        float detail = above[x] + below[x] + before + after - 4.0f * row[x];
        values += row[x];
        squares += row[x] * row[x];
        details += detail;
        detail_squares += detail * detail;
    }
    sums[4 * y] = values;
    sums[4 * y + 1] = squares;
    sums[4 * y + 2] = details;
    sums[4 * y + 3] = detail_squares;
}
